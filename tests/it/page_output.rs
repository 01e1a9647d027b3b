//! What the page shows of output that comes faster, longer or stranger than it can show.

use super::page::open;
use super::support::{Browser, Server};
use serde_json::json;

#[test]
fn output_that_is_not_shown_or_kept_leaves_a_mark_and_is_counted() {
    let server = Server::start();
    let browser = Browser::start();
    open(&browser, &server, "#/");
    // 40 MiB in lines of 1,024 characters, faster than frames come.
    let found = browser.script_async(
        "const {Output} = await import('/page/output.js');
         const output = new Output();
         document.body.append(output.element);
         const line = (n) => `${String(n).padStart(8, '0')}${'x'.repeat(1015)}\\n`;
         for (let n = 0; n < 40960;) {
             let text = '';
             for (let end = n + 64; n < end; n += 1) text += line(n);
             output.add('stdout', text.slice(0, 100));
             output.add('stdout', text.slice(100));
         }
         while (output.waiting.length) await new Promise(requestAnimationFrame);
         const shown = [...output.box.querySelectorAll('.block > div')];
         const gaps = shown.filter((line) => line.lost);
         const dropped = Number(/(\\d+) earlier lines/.exec(output.note.textContent)?.[1] ?? 0);
         const lost = gaps.reduce((sum, line) => sum + Number(/\\d+/.exec(line.textContent)[0]), 0);
         let saved;
         URL.createObjectURL = (blob) => { saved = blob; return '#'; };
         [...output.element.querySelectorAll('button')].find((button) => button.textContent === 'Download').click();
         const text = await saved.text();
         output.skip(3);
         output.add('stderr', 'after');
         while (output.waiting.length) await new Promise(requestAnimationFrame);
         output.setPause(true);
         output.add('stdout', 'while it pauses');
         return [dropped + lost + shown.length - gaps.length, gaps.length > 0, shown.at(-1).textContent.slice(0, 8), text.slice(0, 60),
             [...output.box.querySelectorAll('.block > div')].slice(-2).map((line) => line.textContent), output.note.textContent]",
    );
    assert_eq!(found[0], 40960, "{found}");
    assert_eq!(found[1], true, "{found}");
    assert_eq!(found[2], "00040959", "{found}");
    let start = found[3].as_str().unwrap();
    assert!(
        start.starts_with('[') && start.contains("MiB before this are not kept"),
        "{start}"
    );
    let marked = json!([
        "… 3 pieces of the output are no longer kept by the server …",
        "after"
    ]);
    assert_eq!(found[4], marked);
    assert!(found[5].as_str().unwrap().contains("15 B more"), "{found}");
    drop(browser);
    server.stop();
}

#[test]
fn strange_output_takes_no_long_time_and_unknown_colours_change_nothing() {
    let server = Server::start();
    let browser = Browser::start();
    open(&browser, &server, "#/");
    let found = browser.script_async(
        r"const {Output} = await import('/page/output.js');
         const times = [];
         for (const text of ['\r'.repeat(2e6), '\x1b]0;t'.repeat(1e6), 'a\r\r\nb']) {
             const output = new Output();
             document.body.append(output.element);
             const begun = performance.now();
             output.add('stdout', `${text}\x1b\\\nend`);
             while (output.waiting.length) await new Promise(requestAnimationFrame);
             times.push(Math.round(performance.now() - begun), [...output.box.querySelectorAll('.block > div')].map((line) => line.textContent).join('|').slice(-20));
             output.element.remove();
         }
         const output = new Output();
         document.body.append(output.element);
         output.add('stdout', '\x1b[38;5mA\x1b[0m\x1b[38;2;1mB\x1b[0m\x1b[7mC\x1b[27mD\x1b[31;7mE\x1b[0;1;38;5;200mF');
         while (output.waiting.length) await new Promise(requestAnimationFrame);
         const looks = [...output.box.querySelectorAll('span')].map((span) => [span.textContent, span.style.color, span.style.backgroundColor]);
         return [times, output.box.textContent, looks]",
    );
    let [times, text, looks] = [&found[0], &found[1], &found[2]];
    for at in [0, 2] {
        assert!(times[at].as_u64().unwrap() < 5000, "milliseconds: {times}");
        assert!(times[at + 1].as_str().unwrap().ends_with("end"), "{times}");
    }
    assert_eq!(times[5], "a|b|end", "{times}");
    assert_eq!(text, "ABCDEF");
    let expected = json!([
        ["C", "rgb(16, 21, 28)", "rgb(230, 235, 242)"],
        ["E", "rgb(16, 21, 28)", "rgb(255, 139, 130)"],
        ["F", "rgb(255, 0, 215)", ""],
    ]);
    assert_eq!(*looks, expected);
    drop(browser);
    server.stop();
}
