//! Names of the functions, and which function has a name.
//!
//! No table of addresses stands here: the loader would have to write it into each process that has the library.

use super::FUNCTIONS;
use std::ffi::CStr;

macro_rules! define_names {
    ($($id:literal $name:ident ( $($argument:ident : $type:ident),* ) = $meaning:ident $( ( $operation:ident ) )?, $since:literal;)*) => {
        /// As C strings, one behind the other.
        const NAMES: &str = concat!($(stringify!($name), "\0"),*);
    };
}
nccltap_proto::wrapped_functions!(define_names);

/// Where each name begins in [`NAMES`], and where the last one ends: numbers, which the loader need not write.
#[expect(
    clippy::indexing_slicing,
    reason = "the compiler evaluates it, and refuses what is out of range"
)]
static BEGINS: [u16; FUNCTIONS + 1] = {
    let (names, mut begins) = (NAMES.as_bytes(), [0; FUNCTIONS + 1]);
    assert!(names.len() <= u16::MAX as usize, "a place in NAMES has 16 bits");
    let (mut at, mut function) = (0, 0);
    while at < names.len() {
        at += 1;
        if names[at - 1] == 0 {
            function += 1;
            begins[function] = at as u16;
        }
    }
    begins
};

/// The name of a function, as a C string.
pub(crate) fn name(function: usize) -> &'static CStr {
    let name = BEGINS.get(function..).and_then(|begins| match begins {
        [begin, end, ..] => NAMES.as_bytes().get(usize::from(*begin)..usize::from(*end)),
        _ => None,
    });
    name.and_then(|name| CStr::from_bytes_with_nul(name).ok()).unwrap_or_default()
}

/// Which function of the table has this name. Names of other lengths are told apart by their lengths: it is asked
/// for each name that begins like one of ours.
pub(crate) fn by_name(name: &CStr) -> Option<usize> {
    let name = name.to_bytes_with_nul();
    BEGINS.windows(2).position(|place| match place {
        [begin, end] if usize::from(end - begin) == name.len() => {
            NAMES.as_bytes().get(usize::from(*begin)..usize::from(*end)) == Some(name)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_proto::functions::Function;

    #[test]
    fn every_function_is_found_by_its_name_and_no_other_name_is() {
        for (index, function) in Function::ALL.iter().enumerate() {
            assert_eq!(name(index).to_str(), Ok(function.name()));
            assert_eq!(by_name(name(index)), Some(index));
        }
        assert_eq!(name(FUNCTIONS), c"");
        for other in [c"", c"ncclAllReduc", c"ncclAllReducf", c"cublasCreate_v2"] {
            assert_eq!(by_name(other), None, "{other:?}");
        }
    }
}
