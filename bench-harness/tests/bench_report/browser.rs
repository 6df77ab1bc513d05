//! The page in a real browser: headless Chromium lays it out at the width of a desk and of a phone, and says what it found.

use crate::samples;
use ringlog_bench_harness::bench::{history, report};
use ringlog_bench_harness::clients::{Runtime, install};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Added to a copy of a page: measures what is laid out, and writes it into the page.
const PROBE: &str = r#"<script>
const boxes = (of, what) => [...of.querySelectorAll(what)].map((e) => [e, e.getBoundingClientRect()]).filter(([, b]) => b.width);
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
  ? Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2 : false;
const found = { headings: [], charts: 0, small: [], over: [], outside: [], letters: [], wide: 0 };
for (const h of document.querySelectorAll("h1, h2, h3")) found.headings.push(h.textContent);
for (const [svg, frame] of boxes(document, "svg.chart")) {
  found.charts += 1;
  const name = svg.querySelector("title").textContent;
  if (250 > frame.width || 60 > frame.height) found.small.push(name);
  const words = boxes(svg, "text");
  for (const [k, [e, a]] of words.entries()) {
    if (frame.left - 1 > a.left || a.right > frame.right + 1 || a.bottom > frame.bottom + 1) found.outside.push(name + ": " + e.textContent);
    if (9 > parseFloat(getComputedStyle(e).fontSize) * frame.width / svg.viewBox.baseVal.width) found.letters.push(name + ": " + e.textContent);
    for (const [f, b] of words.slice(k + 1)) if (meet(a, b)) found.over.push(name + ": " + e.textContent + " / " + f.textContent);
  }
}
found.wide = document.documentElement.scrollWidth - window.innerWidth;
const out = document.createElement("pre");
out.id = "probe";
out.textContent = JSON.stringify(found);
document.body.append(out);
</script>"#;

/// Where the browser is, and what it needs to run from there; None, said aloud, where it cannot be had.
fn browser() -> Option<Command> {
    if !install(Runtime::Chromium) {
        return None;
    }
    let dir = Runtime::Chromium.dir();
    let root = dir.join("root/usr");
    let own = root.join("lib/chromium/chromium-headless-shell");
    let program = if own.exists() { own } else { PathBuf::from("chromium-headless-shell") };
    let fonts = dir.join("fonts.conf");
    let folders = [root.join("share/fonts"), PathBuf::from("/usr/share/fonts")];
    let folders: String = folders.iter().map(|f| format!("<dir>{}</dir>", f.display())).collect();
    let cache = dir.join("fonts");
    let text = format!("<fontconfig>{folders}<cachedir>{}</cachedir></fontconfig>", cache.display());
    std::fs::write(&fonts, text).expect("target is writable");
    // A page that hangs ends the test instead of hanging it.
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).env("FONTCONFIG_FILE", fonts);
    command.env("LD_LIBRARY_PATH", root.join(format!("lib/{}-linux-gnu", std::env::consts::ARCH)));
    // Our own pages only, so that it may run as root too.
    command.args(["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]);
    Some(command)
}

/// Lays a page out; what the probe found, and what the page's console said.
fn look(page: &Path, width: u32) -> Option<(Value, Vec<String>)> {
    let text = std::fs::read_to_string(page).expect("a page");
    let probed = page.with_file_name(format!("probed-{width}.html"));
    std::fs::write(&probed, text.replace("</body>", &format!("{PROBE}</body>"))).expect("target is writable");
    let profile = page.with_file_name(format!("profile-{width}"));
    let mut command = browser()?;
    command.arg(format!("--window-size={width},900")).arg(format!("--user-data-dir={}", profile.display()));
    let output =
        command.arg("--dump-dom").arg(format!("file://{}", probed.display())).output().expect("timeout(1) runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let dom = String::from_utf8_lossy(&output.stdout);
    let probe = dom.split("<pre id=\"probe\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let probe = probe.unwrap_or_else(|| panic!("the probe did not run: {errors}"));
    let json = probe.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let said = errors.lines().filter(|line| line.contains("CONSOLE")).map(str::to_string).collect();
    Some((serde_json::from_str(&json).expect("the probe writes JSON"), said))
}

#[track_caller]
fn is_sound(found: &Value, said: &[String], charts: u64) {
    assert!(said.is_empty(), "the console: {said:#?}");
    for (what, words) in [
        ("small", "charts that are too small"),
        ("over", "labels over each other"),
        ("outside", "labels outside their charts"),
        ("letters", "letters that are too small to read"),
    ] {
        let list = found[what].as_array().expect("a list");
        assert!(list.is_empty(), "{words}: {list:#?}");
    }
    assert!(found["charts"].as_u64().is_some_and(|n| n >= charts), "{found:#}");
    assert!(found["wide"].as_i64().is_some_and(|w| w <= 0), "the page is wider than its window by {}", found["wide"]);
}

#[test]
fn the_report_opens_in_a_browser_and_is_legible() {
    let dir = samples::folder("browser");
    report::write(&dir, &samples::report()).expect("a report is written");
    for width in [1300, 360] {
        let Some((found, said)) = look(&dir.join("report.html"), width) else { return };
        is_sound(&found, &said, 20);
        let headings: Vec<&str> =
            found["headings"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        for expected in [
            "ringlog against kafka",
            "VOID runs",
            "Summary",
            "steady",
            "highest-rate",
            "catch-up",
            "Verdict",
            "Latency",
            "Throughput",
            "Cost",
            "Inside the broker",
            "Against the bare loop",
            "Checks of the runs",
            "Environment",
            "What this does not show",
        ] {
            assert!(headings.contains(&expected), "{expected} is not among {headings:?}");
        }
    }
}

#[test]
fn long_names_and_many_brokers_stay_legible() {
    let dir = samples::folder("browser-long");
    report::write(&dir, &samples::crowded()).expect("a report is written");
    for width in [1300, 360] {
        let Some((found, said)) = look(&dir.join("report.html"), width) else { return };
        is_sound(&found, &said, 6);
    }
}

#[test]
fn the_history_opens_in_a_browser() {
    let dir = samples::folder("browser-history");
    let page = dir.join("history.html");
    std::fs::write(&page, history::page(&samples::kept(), None)).expect("target is writable");
    for width in [1300, 360] {
        let Some((found, said)) = look(&page, width) else { return };
        is_sound(&found, &said, 3);
    }
}

#[test]
fn an_error_in_a_page_would_be_seen() {
    let dir = samples::folder("browser-wrong");
    let page = dir.join("wrong.html");
    let text = "<body><svg class='chart' viewBox='0 0 300 90' width='300'><title>a</title>\
                <text x='5' y='20'>some words</text><text x='9' y='22'>and others</text></svg>\
                <script>console.error('wrong')</script></body>";
    std::fs::write(&page, text).expect("target is writable");
    let Some((found, said)) = look(&page, 800) else { return };
    assert!(said.len() == 1 && said[0].contains("wrong"), "{said:?}");
    assert_eq!(found["over"].as_array().map(Vec::len), Some(1), "{found:#}");
}
