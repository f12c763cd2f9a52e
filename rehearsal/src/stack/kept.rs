//! Stacks that were made: each in a folder named by what it was made from, so that one that is in use is
//! never replaced, and who makes the same one twice finds it.

use anyhow::Context;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The file in each folder that is locked while somebody runs on its libraries, or makes them.
const IN_USE: &str = "in-use";

/// A stack, which stays where it is as long as this is held.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) folder: PathBuf,
    _in_use: File,
}

/// The stack in `stacks` that was made from `stamp`; made by `make`, in the folder that it is given, if
/// there is none. Others that nobody uses are removed.
///
/// # Errors
/// Those of `make`, and when `stacks` cannot be written.
pub(super) fn kept(
    stacks: &Path,
    stamp: &str,
    make: impl Fn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<Kept> {
    let folder = stacks.join(stamp);
    // Who removes it may come between the making and the use.
    let kept = loop {
        if let Some(kept) = in_use(&folder)? {
            break kept;
        }
        made_aside(stacks, &folder, &make)?;
    };
    remove_others(stacks, &folder)?;
    Ok(kept)
}

/// Holds the stack in a folder, if there is one.
fn in_use(folder: &Path) -> anyhow::Result<Option<Kept>> {
    let path = folder.join(IN_USE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    file.lock_shared().with_context(|| format!("{} cannot be locked", path.display()))?;
    // Somebody may have removed it while this waited.
    let of_the_folder = fs::metadata(&path).map(|there| there.ino()).ok();
    let held = file.metadata()?.ino() == of_the_folder.unwrap_or_default();
    Ok(held.then(|| Kept { folder: folder.to_owned(), _in_use: file }))
}

/// Makes a stack and puts it in its place when it is complete, so that who looks meanwhile finds all or
/// nothing.
fn made_aside(
    stacks: &Path,
    folder: &Path,
    make: impl Fn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let draft = stacks.join(format!("draft-{}", std::process::id()));
    fs::create_dir_all(&draft)?;
    let making = File::create(draft.join(IN_USE))?;
    making.lock()?;
    let made = make(&draft).and_then(|()| match fs::rename(&draft, folder) {
        // Somebody else has made the same one meanwhile.
        Err(_) if folder.join(IN_USE).exists() => Ok(fs::remove_dir_all(&draft)?),
        renamed => Ok(renamed?),
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(&draft);
    }
    made
}

/// Removes what nobody uses: stacks of engines that have changed, and what a maker left that was killed.
fn remove_others(stacks: &Path, folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(stacks)? {
        let path = entry?.path();
        let Ok(file) = File::open(path.join(IN_USE)) else { continue };
        if path == folder {
            continue;
        }
        match file.try_lock() {
            Ok(()) => fs::remove_dir_all(&path)
                .with_context(|| format!("{} cannot be removed", path.display()))?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tempfile::tempdir;

    fn writes(folder: &Path) -> anyhow::Result<()> {
        Ok(fs::write(folder.join("library"), "")?)
    }

    #[test]
    fn a_stack_is_made_once_for_what_it_is_made_from() {
        let stacks = tempdir().unwrap();
        let times = Cell::new(0);
        for stamp in ["one", "one", "one"] {
            let make = |folder: &Path| {
                times.set(times.get() + 1);
                writes(folder)
            };
            let kept = kept(stacks.path(), stamp, make).unwrap();
            assert!(kept.folder.join("library").exists());
        }
        assert_eq!(times.get(), 1);
    }

    #[test]
    fn a_stack_that_is_in_use_stays_and_another_goes_when_a_new_one_comes() {
        let stacks = tempdir().unwrap();
        let used = kept(stacks.path(), "used", writes).unwrap();
        let left = kept(stacks.path(), "left", writes).unwrap().folder;
        let new = kept(stacks.path(), "new", writes).unwrap();
        assert!(used.folder.join("library").exists());
        assert!(!left.exists());
        assert!(new.folder.join("library").exists());
    }

    #[test]
    fn a_stack_that_could_not_be_made_leaves_nothing() {
        let stacks = tempdir().unwrap();
        let error = kept(stacks.path(), "one", |_| anyhow::bail!("no compiler")).unwrap_err();
        assert_eq!(error.to_string(), "no compiler");
        assert_eq!(fs::read_dir(stacks.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_maker_left_that_was_killed_is_removed() {
        let stacks = tempdir().unwrap();
        let draft = stacks.path().join("draft-1");
        fs::create_dir(&draft).unwrap();
        fs::write(draft.join(IN_USE), "").unwrap();
        kept(stacks.path(), "one", writes).unwrap();
        assert!(!draft.exists());
    }
}
