//! The pages in a real browser, without a screen. Without Chromium here, the test says that it is skipped.
//!
//! `NCCLTAP_BLESS=1 cargo test -p nccltap --test browser` takes the picture in docs/report.md anew;
//! `NCCLTAP_SCREENSHOTS=DIR` keeps all of them.
#![allow(missing_docs)]

mod support;

use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::browser::{browser, contrast, luminance};
use support::engine::{METRICS, OUTPUT, PROMPT, record};
use support::nccltap;

/// Looks at the page from the inside, and leaves what it saw in the document.
const PROBE: &str = "<script>
    const all = (what) => [...document.querySelectorAll(what)];
    const small = all('svg').filter((svg) => svg.getBoundingClientRect().width < 300).length;
    const seen = {
        sections: all('h2[id]').map((title) => title.id),
        plots: all('svg').length,
        small,
        titles: all('svg .mark > title').filter((title) => title.textContent.length > 3).length,
        wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        ground: getComputedStyle(document.body).backgroundColor,
        text: getComputedStyle(document.body).color,
        axis: getComputedStyle(document.querySelector('svg text')).fill,
    };
    console.log('the probe has looked');
    const left = document.createElement('pre');
    left.id = 'probe';
    left.textContent = JSON.stringify(seen);
    document.body.append(left);
</script></body>";

const LIGHT: &str = "--blink-settings=preferredColorScheme=1";
const DARK: &str = "--blink-settings=preferredColorScheme=0";

/// How long the browser may take for one page.
const PATIENCE: Duration = Duration::from_secs(120);

/// Opens a page. Gives what the browser printed, and what it logged.
fn open(browser: &str, folder: &Path, page: &Path, options: &[&str]) -> (String, String) {
    let (printed, logged) = (folder.join("printed"), folder.join("logged"));
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .args(["--enable-logging=stderr", "--no-first-run", "--disable-background-networking"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(options)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(File::create(&printed).unwrap())
        .stderr(File::create(&logged).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(ended) => break ended,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                break child.wait().unwrap();
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let (printed, logged) = (read(&printed), read(&logged));
    assert!(ended.success(), "{ended}: {logged}");
    (printed, logged)
}

/// What the probe saw in a page. The console has nothing else in it.
fn probed(browser: &str, folder: &Path, page: &Path, options: &[&str]) -> Value {
    let with_probe = folder.join("probed.html");
    let text = std::fs::read_to_string(page).unwrap();
    std::fs::write(&with_probe, text.replacen("</body>", PROBE, 1)).unwrap();
    let mut options = options.to_vec();
    options.push("--dump-dom");
    let (printed, logged) = open(browser, folder, &with_probe, &options);
    let console: Vec<&str> = logged.lines().filter(|line| line.contains("CONSOLE")).collect();
    // That its own word is there shows that the console is heard.
    assert!(console.len() == 1 && console[0].contains("the probe has looked"), "{console:?}");
    let (_, left) = printed.split_once("<pre id=\"probe\">").expect(&printed);
    serde_json::from_str(left.split_once("</pre>").unwrap().0).unwrap()
}

/// The page of the whole run beside its prediction, and that of `nccltap predict`.
fn pages(folder: &Path) -> [(PathBuf, Vec<&'static str>, u64); 2] {
    let recording = folder.join("run.rec");
    record(&recording, |_, _| false);
    std::fs::write(folder.join("run.rec.metrics"), METRICS).unwrap();
    let (prompt, output) = (PROMPT.to_string(), OUTPUT.to_string());
    let served = [
        "--model",
        "llama-3.1-8b",
        "--max-model-len",
        "2048",
        "--prompt",
        &prompt,
        "--output",
        &output,
    ];
    let (report, predict) = (folder.join("report.html"), folder.join("predict.html"));
    for (arguments, page) in [
        (vec!["report", recording.to_str().unwrap(), "--cluster", "paper"], &report),
        (vec!["predict", "--tp", "4,1,2", "--pp", "1,4,2"], &predict),
    ] {
        let made = nccltap().args(arguments).args(served).arg("--html").arg(page).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let sections = vec!["bytes", "predicted", "levels", "time", "sizes", "peers", "paper", "ranks"];
    [(report, sections, 13), (predict, vec![], 2)]
}

#[test]
fn pages_are_whole_and_readable_in_light_and_dark_wide_and_narrow() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (page, sections, plots) in pages(folder.path()) {
        for (mode, light) in [(LIGHT, true), (DARK, false)] {
            for size in ["--window-size=1280,900", "--window-size=500,900"] {
                let seen = probed(browser, folder.path(), &page, &[mode, size]);
                let of = format!("{} {mode} {size}: {seen}", page.display());
                assert_eq!(seen["sections"], serde_json::to_value(&sections).unwrap(), "{of}");
                assert_eq!((&seen["plots"], &seen["small"]), (&plots.into(), &0.into()), "{of}");
                assert!(seen["titles"].as_u64().unwrap() >= 3 * plots, "{of}");
                assert!(seen["wider"].as_i64().unwrap() <= 0, "the page scrolls sideways: {of}");
                assert_eq!(luminance(&seen["ground"]) > 0.5, light, "{of}");
                for ink in [&seen["text"], &seen["axis"]] {
                    assert!(contrast(ink, &seen["ground"]) >= 7.0, "{of}");
                }
            }
        }
    }
}

#[test]
fn pictures_are_taken() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("NCCLTAP_SCREENSHOTS").map(PathBuf::from);
    let [(report, ..), (predict, ..)] = pages(folder.path());
    for (page, name, mode, size) in [
        (&report, "report", LIGHT, "1100,860"),
        (&report, "report-light", LIGHT, "1280,3300"),
        (&report, "report-dark", DARK, "1280,3300"),
        (&report, "report-narrow", LIGHT, "500,1500"),
        (&predict, "predict-light", LIGHT, "1280,1600"),
    ] {
        let picture = folder.path().join(format!("{name}.png"));
        let taken = format!("--screenshot={}", picture.display());
        open(browser, folder.path(), page, &[mode, &format!("--window-size={size}"), &taken]);
        let bytes = std::fs::read(&picture).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "{name}: {}", bytes.len());
        if name == "report" && std::env::var_os("NCCLTAP_BLESS").is_some() {
            let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/report.png");
            std::fs::copy(&picture, docs).unwrap();
        }
        if let Some(kept) = &kept {
            std::fs::create_dir_all(kept).unwrap();
            std::fs::copy(&picture, kept.join(format!("{name}.png"))).unwrap();
        }
    }
}
