//! The stdio transport, on a reader and a writer.

use super::*;

#[test]
fn stdio_answers_line_by_line_and_ends_with_its_input() {
    #[derive(Clone, Default)]
    struct Out(Arc<std::sync::Mutex<Vec<u8>>>);
    impl io::Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mcp = front();
    let out = Out::default();
    let input = format!(
        "{}\n\n{LIST}\r\nrubbish\n[{LIST}]\n{}\n",
        r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#,
        run("forever", None)
    );
    crate::mcp::stdio::serve(&mcp, Cursor::new(input), out.clone()).unwrap();
    let written = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = written
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(lines[1]["id"], 1);
    assert_eq!(lines[2]["error"]["code"], -32700);
    assert_eq!(
        lines[3]["error"]["code"], -32600,
        "no batches in 2024-11-05"
    );
    let last = lines.last().unwrap();
    assert_eq!(
        last["result"]["structuredContent"]["status"],
        "error: cancelled"
    );
    assert_eq!(mcp.census(), [0, 0, 0]);
    mcp.close();
}
