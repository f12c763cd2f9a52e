//! The page of a running collector in a real browser. Without Chromium here, each test says that it is skipped.
//!
//! `NCCLTAP_BLESS=1 cargo test -p nccltap --test page` takes the pictures in docs/page.md anew;
//! `NCCLTAP_SCREENSHOTS=DIR` keeps pictures of every view.
#![allow(missing_docs)]

mod support;

use nccltap_proto::v1;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use support::Collector;
use support::browser::{Browser, browser, contrast, luminance};
use support::engine::Shape;
use support::job::Job;

const VIEWS: [&str; 7] =
    ["overview", "traffic", "ranks", "peers", "steps", "coverage", "prediction"];

/// Snapshots that the page is given to see whether its memory grows: a run of the whole day at two a second
/// would be 172,800.
const SNAPSHOTS: u32 = 4000;

/// An engine that serves for as long as this lives.
struct Serving {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    fn start(collector: &Collector, tensor: i32, stages: i32) -> Self {
        Self::start_as(collector, tensor, stages, |process| process)
    }

    fn start_as(
        collector: &Collector,
        tensor: i32,
        stages: i32,
        change: impl Fn(v1::Process) -> v1::Process + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (socket, end) = (collector.socket.clone(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let shape = Shape { tensor, stages };
                let mut job = Job::start_as(&socket, shape, change).await;
                let mut tick = tokio::time::interval(Duration::from_millis(100));
                for step in 0u64.. {
                    if end.load(Relaxed) {
                        return;
                    }
                    match step % 20 {
                        0 => job.step(128 + step % 7 * 96, 0).await,
                        decoded => job.step(1, 8 + decoded / 16).await,
                    }
                    tick.tick().await;
                }
            });
        });
        Self { over, thread: Some(thread) }
    }

    fn stop(mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// Opens a view and waits until it is drawn from a snapshot with rates.
fn see(page: &mut Browser, collector: &Collector, view: &str) {
    page.open(&format!("http://{}/#{view}", collector.http));
    let name = view.split('/').next().unwrap();
    page.until(&format!(
        "document.querySelector('#view-{name}:not([hidden]) h2') && \
         document.getElementById('connection').textContent === 'Live.'"
    ));
}

/// What has been said on the console of a page that had nothing to say.
fn silent(page: &Browser) {
    assert!(page.console.is_empty(), "{:?}", page.console);
}

#[test]
fn every_view_is_drawn_in_light_and_dark_and_on_a_phone() {
    let Some(name) = browser() else { return };
    let kept = std::env::var_os("NCCLTAP_SCREENSHOTS").map(PathBuf::from);
    let bless = std::env::var_os("NCCLTAP_BLESS").is_some();
    let folder = tempfile::tempdir().unwrap();
    for (tensor, stages) in [(2, 1), (4, 2), (8, 8)] {
        let ranks = tensor * stages;
        let model = ["--model", "llama-3.1-8b", "--max-model-len", "2048", "--tp"];
        let sizes = [tensor.to_string(), stages.to_string()];
        let mut arguments: Vec<&str> = model.to_vec();
        arguments.extend([sizes[0].as_str(), "--pp", sizes[1].as_str()]);
        let collector = Collector::start_in(tempfile::tempdir().unwrap(), &arguments);
        let serving = Serving::start(&collector, tensor, stages);
        let mut page = Browser::start(name);
        for (width, dark) in [(1280, false), (1280, true), (390, false)] {
            page.look(width, 900, dark);
            for view in VIEWS {
                see(&mut page, &collector, view);
                page.until(&format!(
                    "document.getElementById('subject').textContent.includes('{ranks} ranks')"
                ));
                page.until("!document.querySelector('main').innerText.includes('–')");
                let seen = page.value(LOOK);
                let of = format!("{ranks} ranks, {view}, {width}, dark {dark}: {seen}");
                assert!(seen["wider"].as_i64().unwrap() <= 0, "the page scrolls sideways: {of}");
                assert!(seen["words"].as_u64().unwrap() > 20, "{of}");
                assert_eq!(seen["links"], VIEWS.len(), "{of}");
                assert_eq!(seen["current"], seen["title"], "{of}");
                assert_eq!(luminance(&seen["ground"]) > 0.5, !dark, "{of}");
                assert!(contrast(&seen["text"], &seen["ground"]) >= 7.0, "{of}");
                assert!(contrast(&seen["quiet"], &seen["ground"]) >= 4.5, "{of}");
                assert_eq!(seen["unnamed"], 0, "tables without a caption or a scope: {of}");
                if let Some(kept) = &kept {
                    std::fs::create_dir_all(kept).unwrap();
                    let mode = if dark { "dark" } else { "light" };
                    page.picture(&kept.join(format!("page-{ranks}-{view}-{width}-{mode}.png")));
                }
            }
        }
        if ranks == 64 {
            for (view, picture) in [("overview", "page.png"), ("peers", "page-peers.png")] {
                page.look(1100, 700, false);
                see(&mut page, &collector, view);
                page.until("document.querySelectorAll('.strip li').length === 64");
                let file = folder.path().join(picture);
                page.picture(&file);
                let bytes = std::fs::read(&file).unwrap();
                assert!(bytes.starts_with(b"\x89PNG"));
                assert!((20_000..200_000).contains(&bytes.len()), "{picture}: {}", bytes.len());
                if bless {
                    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
                    std::fs::copy(&file, docs.join(picture)).unwrap();
                }
            }
        }
        silent(&page);
        serving.stop();
    }
}

/// Looks at a page from the inside.
const LOOK: &str = "(() => {
    const main = document.querySelector('section:not([hidden])');
    const quiet = document.querySelector('.quiet');
    const all = (what) => [...document.querySelectorAll(what)];
    return {
        wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        words: main.innerText.length,
        links: all('nav a').length,
        current: document.querySelector('nav a[aria-current=page]').textContent,
        title: main.querySelector('h2').textContent,
        ground: getComputedStyle(document.body).backgroundColor,
        text: getComputedStyle(document.body).color,
        quiet: getComputedStyle(quiet).color,
        unnamed: all('table').filter((table) => !table.caption?.textContent
            || [...table.tHead.rows[0].cells].some((cell) => cell.scope !== 'col')
            || [...table.tBodies[0].rows].some((row) => row.cells[0].scope !== 'row')).length,
    };
})()";

#[test]
fn numbers_go_on_and_a_restart_of_the_collector_is_told_and_survived() {
    let Some(name) = browser() else { return };
    let collector = Collector::start();
    let serving = Serving::start(&collector, 2, 1);
    let mut page = Browser::start(name);
    see(&mut page, &collector, "overview");
    page.until("document.querySelectorAll('.strip li').length === 2");
    let operations = "document.querySelector('.tiles > div:nth-child(3)').innerText";
    let before = page.value(operations);
    page.until(&format!("{operations} !== {before}"));
    silent(&page);

    serving.stop();
    let http = collector.http.clone();
    let dir = collector.kill();
    page.until(
        "document.getElementById('connection').textContent.startsWith('Not connected since')",
    );
    page.until("document.body.classList.contains('stale')");
    // The last numbers stay.
    assert_eq!(page.value("document.querySelectorAll('.strip li').length"), 2);

    let collector = Collector::start_at(dir, &http, &[]);
    page.until("document.getElementById('connection').textContent === 'Live.'");
    page.until(
        "document.getElementById('subject').textContent.includes('no rank has called NCCL')",
    );
    assert_eq!(page.value("document.querySelectorAll('.strip li').length"), 0);
    let serving = Serving::start(&collector, 4, 2);
    page.until("document.querySelectorAll('.strip li').length === 8");
    serving.stop();
}

#[test]
fn names_are_shown_and_never_obeyed() {
    let Some(name) = browser() else { return };
    let collector = Collector::start();
    let odd =
        "<img src=x onerror=document.title=1><script>document.title=1</script>&amp;\"'\u{202e}";
    let long = "a-host-with-a-name-of-some-length.".repeat(4);
    let serving = Serving::start_as(&collector, 2, 1, move |process| v1::Process {
        job: odd.to_owned(),
        host: format!("{odd}{long}"),
        ..process
    });
    let mut page = Browser::start(name);
    page.look(800, 900, false);
    for view in VIEWS {
        see(&mut page, &collector, view);
        page.until("document.getElementById('subject').textContent.includes('<img src=x')");
        assert_eq!(page.value("document.querySelectorAll('img, main script').length"), 0);
        assert_ne!(page.value("document.title"), "1");
        let wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert!(page.value(wider).as_i64().unwrap() <= 0, "{view}");
    }
    // And were a script to come in, the policy would not let it run.
    let injected = "new Promise((done) => {
        addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
        const script = document.createElement('script');
        script.textContent = 'document.title = 1';
        document.body.append(script);
    })";
    assert_eq!(page.value(injected), "script-src-elem");
    serving.stop();
}

#[test]
fn the_keyboard_reaches_views_charts_and_cells() {
    let Some(name) = browser() else { return };
    let collector = Collector::start();
    let serving = Serving::start(&collector, 4, 2);
    let mut page = Browser::start(name);
    see(&mut page, &collector, "overview");
    page.until("document.querySelectorAll('.strip li').length === 8");
    // A link is followed, and the title of what it leads to has the focus.
    page.value("document.querySelector('nav a[href=\"#steps\"]').focus()");
    page.value("document.activeElement.click()");
    page.until("document.activeElement.id === 'title-steps'");
    page.value("document.querySelector('#view-steps svg').focus()");
    let told = "document.querySelector('#view-steps .readout').textContent.includes(':')";
    page.press_until("ArrowLeft", told);
    page.press("Escape");
    page.until("document.querySelector('#view-steps .readout').textContent === ''");
    see(&mut page, &collector, "peers/all");
    page.value("document.querySelector('canvas').focus()");
    let told = "document.querySelector('#view-peers .readout').textContent.startsWith('Rank 0 to rank 1: ')";
    page.press_until("ArrowRight", told);
    see(&mut page, &collector, "ranks/behind");
    page.until("document.querySelector('[aria-sort=descending]').textContent === 'behind'");
    silent(&page);
    serving.stop();
}

#[test]
fn a_page_that_stays_open_does_not_grow() {
    let Some(name) = browser() else { return };
    let collector = Collector::start();
    let serving = Serving::start(&collector, 8, 8);
    let mut page = Browser::start(name);
    see(&mut page, &collector, "overview");
    page.until("document.querySelectorAll('.strip li').length === 64");
    // As the stream would bring them, without waiting half a second for each.
    let feed = |count: u32| {
        format!(
            "(async () => {{
                const {{ show }} = await import('/page/main.js');
                const {{ store }} = await import('/page/store.js');
                const views = {views};
                window.fed ??= structuredClone(store.live);
                for (let at = 0; at < {count}; at += 1) {{
                    const live = structuredClone(window.fed);
                    window.fed.number += 1;
                    window.fed.second += 1;
                    live.number = window.fed.number + 1e6;
                    live.second = window.fed.second;
                    live.at_ms += live.second * 1000;
                    live.totals.bus_rate = Math.random() * 1e12;
                    live.attention = at % 3 ? [] : [{{ severity: 'bad', view: 'ranks', sentence: `Rank ${{at}}` }}];
                    live.ranks.forEach((rank) => {{ rank.bus_rate = Math.random() * 1e10; }});
                    live.recent = [{{ second: live.second, steps: [1, 9, 0, 0, 0], operations: [1, at, 0, 0, 0], message_bytes: [7, at * 99, 0, 0, 0] }}];
                    show(live);
                    if (at % 50 === 0) {{
                        location.hash = views[(at / 50) % views.length];
                        await new Promise((next) => setTimeout(next));
                    }}
                }}
                return store.seconds.length;
            }})()",
            views = serde_json::to_string(&VIEWS).unwrap(),
        )
    };
    // Every view has been drawn before it is measured.
    let fed = |page: &mut Browser, snapshots: u32| {
        for _ in 0..snapshots / 500 {
            page.value(&feed(500));
        }
        ["JSHeapUsedSize", "Nodes", "JSEventListeners"].map(|name| page.measured(name))
    };
    let before = fed(&mut page, 1000);
    let snapshots = std::env::var("NCCLTAP_PAGE_SNAPSHOTS");
    let snapshots = snapshots.map_or(SNAPSHOTS, |number| number.parse().unwrap());
    let after = fed(&mut page, snapshots);
    eprintln!("heap, nodes, listeners: {before:?}, and {snapshots} snapshots later {after:?}");
    let seconds = page.value("import('/page/store.js').then(({ store }) => store.seconds.length)");
    assert!(seconds.as_u64().unwrap() <= 300, "{seconds}");
    assert!(after[0] < before[0] + 1e6, "the heap grew: {before:?} {after:?}");
    assert!(after[1] < before[1] + 200.0, "elements are left: {before:?} {after:?}");
    assert!(after[2] < before[2] + 50.0, "listeners are left: {before:?} {after:?}");
    silent(&page);
    serving.stop();
}
