//! The import graph of `src/`: which file names items of which other files. Read from the text, so that no compiler is needed:
//! `use` lines and inline paths count, comments, strings and test-only code do not. An import through a re-export counts as an
//! import of the file that defines the item.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Files by their path below `src/`, and for each the files that it imports.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

type ModulePath = Vec<String>;

struct Module {
    /// Below `src/`.
    file: String,
    /// Without comments, the contents of strings, test-only items, and `use` lines.
    code: String,
    imports: Vec<Import>,
}

/// One name that a `use` line brings in.
struct Import {
    path: ModulePath,
    /// `*` for a glob.
    name: String,
    is_reexport: bool,
}

/// Every module that is compiled into the library outside tests.
pub struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

impl Crate {
    /// Reads `lib.rs` below `src`, and every module that it declares.
    pub fn read(src: &Path) -> Self {
        let mut modules = BTreeMap::new();
        let mut pending = vec![(Vec::new(), "lib.rs".to_owned())];
        while let Some((path, file)) = pending.pop() {
            let text = std::fs::read_to_string(src.join(&file)).unwrap();
            let (code, imports) = split_imports(&without_tests(&without_comments(&text)));
            let dir = path.join("/");
            for child in declared_modules(&code) {
                let below = format!("{dir}/{child}");
                let below = below.trim_start_matches('/');
                let files = [format!("{below}.rs"), format!("{below}/mod.rs")];
                let file = files.into_iter().find(|file| src.join(file).exists());
                let mut child_path: ModulePath = path.clone();
                child_path.push(child);
                pending.push((child_path, file.unwrap()));
            }
            modules.insert(
                path,
                Module {
                    file,
                    code,
                    imports,
                },
            );
        }
        Self { modules }
    }

    pub fn imports(&self) -> Graph {
        let mut graph = Graph::new();
        for (path, module) in &self.modules {
            let is_hub = module.file.ends_with("mod.rs") || module.file == "lib.rs";
            let mut named: Vec<ModulePath> = Vec::new();
            let mut bound: BTreeMap<&str, ModulePath> = BTreeMap::new();
            for import in &module.imports {
                let Some(absolute) = self.absolute(path, &import.path) else {
                    continue;
                };
                bound.insert(&import.name, absolute.clone());
                if !(is_hub && import.is_reexport) {
                    named.push(absolute);
                }
            }
            for inline in inline_paths(&module.code) {
                let head = bound.get(inline[0].as_str());
                named.extend(match head {
                    Some(head) => Some([head, &inline[1..]].concat()),
                    None => self.absolute(path, &inline),
                });
            }
            let targets = named.iter().filter_map(|path| self.defining_file(path, 0));
            let targets = targets.filter(|target| *target != module.file);
            graph.insert(module.file.clone(), targets.collect());
        }
        graph
    }

    /// The path from the crate's root. `None`: it leads to another crate, or to a local name.
    fn absolute(&self, from: &ModulePath, path: &[String]) -> Option<ModulePath> {
        let child = [from.as_slice(), &path[..1]].concat();
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([from, &path[1..]].concat()),
            "super" => {
                let mut above = from.clone();
                let supers = path.iter().take_while(|part| *part == "super").count();
                above.truncate(from.len() - supers);
                Some([&above, &path[supers..]].concat())
            }
            _ => self
                .modules
                .contains_key(&child)
                .then(|| [from.as_slice(), path].concat()),
        }
    }

    /// The file that defines what the path names. `None` for a folder: what is used of it is named elsewhere.
    fn defining_file(&self, path: &[String], depth: usize) -> Option<String> {
        assert!(depth < 20, "re-exports in a circle: {path:?}");
        let mut known = path.len();
        while !self.modules.contains_key(&path[..known]) {
            known -= 1;
        }
        let (module_path, module) = self.modules.get_key_value(&path[..known])?;
        let Some(name) = path.get(known) else {
            return (!module.file.ends_with("mod.rs")).then(|| module.file.clone());
        };
        let target = |import: &Import| {
            let path = self.absolute(module_path, &import.path)?;
            self.defining_file(&path, depth + 1)
        };
        let reexports = || module.imports.iter().filter(|import| import.is_reexport);
        if let Some(named) = reexports().find(|import| import.name == *name) {
            return target(named).or_else(|| Some(module.file.clone()));
        }
        let from_glob = reexports()
            .filter(|import| import.name == "*")
            .filter_map(target)
            .find(|file| self.defines(file, name));
        Some(from_glob.unwrap_or_else(|| module.file.clone()))
    }

    fn defines(&self, file: &str, name: &str) -> bool {
        let module = self.modules.values().find(|module| module.file == file);
        let words: Vec<&str> = module
            .unwrap()
            .code
            .split(|c: char| !is_word(c))
            .filter(|word| !word.is_empty())
            .collect();
        let kinds = ["struct", "enum", "trait", "type", "fn", "const", "static"];
        words
            .windows(2)
            .any(|pair| kinds.contains(&pair[0]) && pair[1] == name)
    }
}

/// Groups of nodes that reach each other.
pub fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|node| (node, reachable(graph, node)))
        .collect();
    let mut groups: Vec<Vec<String>> = Vec::new();
    for (node, others) in &reached {
        let group: Vec<String> = others
            .iter()
            .filter(|other| reached[**other].contains(node))
            .map(|other| (**other).clone())
            .collect();
        if others.contains(node) && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn reachable<'a>(graph: &'a Graph, from: &String) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut pending: Vec<&String> = graph[from].iter().collect();
    while let Some(node) = pending.pop() {
        if found.insert(node) {
            pending.extend(&graph[node]);
        }
    }
    found
}

/// The graph of groups of files, such as rooms. A group does not import itself.
pub fn grouped(graph: &Graph, group: impl Fn(&str) -> Option<String>) -> Graph {
    let mut grouped = Graph::new();
    for (file, imported) in graph {
        let Some(from) = group(file) else {
            continue;
        };
        let targets = imported.iter().filter_map(|file| group(file));
        let targets: Vec<String> = targets.filter(|to| *to != from).collect();
        grouped.entry(from).or_default().extend(targets);
    }
    grouped
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Blanks comments and the contents of string and character literals.
fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let raw_hashes = raw_string_hashes(rest, code.chars().last());
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").unwrap() + 2
        } else if let Some(hashes) = raw_hashes {
            let end = format!("\"{}", "#".repeat(hashes));
            let content = hashes + 2;
            content + rest[content..].find(&end).unwrap() + end.len()
        } else if c == '"' {
            quoted_length(rest, '"')
        } else if c == '\'' && is_char_literal(rest) {
            quoted_length(rest, '\'')
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

/// `r"` and `r#"` begin a raw string, unless the `r` ends a word; `br"` begins one too.
fn raw_string_hashes(rest: &str, before: Option<char>) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.chars().take_while(|c| *c == '#').count();
    let ends_word = before.is_some_and(|c| is_word(c) && c != 'b');
    (!ends_word && after[hashes..].starts_with('"')).then_some(hashes)
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Tells a character literal from a lifetime.
fn is_char_literal(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    matches!(
        (chars.next(), chars.next()),
        (Some('\\'), _) | (_, Some('\''))
    )
}

/// Removes every item below a `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        kept += before;
        let mut depth = 0;
        let end = after.char_indices().find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && (*c == '}' || *c == ';')
        });
        rest = end.map_or("", |(index, _)| &after[index + 1..]);
        // The end of a `use a::{b};` is its semicolon.
        rest = rest.strip_prefix(';').unwrap_or(rest);
    }
    kept + rest
}

/// Names of `mod name;` declarations.
fn declared_modules(code: &str) -> Vec<String> {
    let statements = code.split([';', '{', '}']);
    let ends = statements.filter_map(|statement| {
        let words: Vec<&str> = statement.split_whitespace().rev().take(2).collect();
        match words[..] {
            [name, "mod"] => Some(name.to_owned()),
            _ => None,
        }
    });
    let declared = |name: &String| code.contains(&format!("mod {name};"));
    ends.filter(declared).collect()
}

/// Takes the `use` lines out of the code.
fn split_imports(code: &str) -> (String, Vec<Import>) {
    let (mut rest, mut imports) = (String::new(), Vec::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let statement = line.trim_start();
        let visibility = statement.split("use ").next().unwrap_or_default().trim();
        let is_use = statement.contains("use ")
            && (visibility.is_empty()
                || visibility.starts_with("pub") && !visibility.contains(' '));
        if !is_use {
            rest += line;
            rest.push('\n');
            continue;
        }
        let mut whole = statement.to_owned();
        while !whole.contains(';') {
            whole += lines.next().unwrap();
        }
        let tree = whole.split_once("use ").unwrap().1;
        let tree = tree.split(';').next().unwrap();
        for (path, name) in expand(tree.trim()) {
            imports.push(Import {
                path,
                name,
                is_reexport: !visibility.is_empty(),
            });
        }
    }
    (rest, imports)
}

/// The paths of a `use` tree, and the name that each is bound to.
fn expand(tree: &str) -> Vec<(ModulePath, String)> {
    if let Some((prefix, group)) = tree.split_once('{') {
        let prefix = parts(prefix);
        let group = group.strip_suffix('}').unwrap();
        let branches = top_level_commas(group);
        let expanded = branches.iter().flat_map(|branch| expand(branch.trim()));
        return expanded
            .map(|(path, name)| match path[..] {
                [ref only] if only == "self" => (prefix.clone(), prefix.last().unwrap().clone()),
                _ => ([prefix.as_slice(), &path].concat(), name),
            })
            .collect();
    }
    if let Some((path, name)) = tree.split_once(" as ") {
        return vec![(parts(path), name.trim().to_owned())];
    }
    let mut path = parts(tree);
    match path.last().cloned() {
        Some(name) if name == "*" => {
            path.pop();
            vec![(path, name)]
        }
        Some(name) => vec![(path, name)],
        None => Vec::new(),
    }
}

fn parts(path: &str) -> ModulePath {
    let parts = path.split("::").map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

fn top_level_commas(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&group[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    found.push(&group[start..]);
    found.retain(|branch| !branch.trim().is_empty());
    found
}

/// Paths of at least two parts, such as `crate::docker::Error`.
fn inline_paths(code: &str) -> Vec<ModulePath> {
    let tokens = code.split(|c: char| !is_word(c) && c != ':');
    let paths = tokens.filter(|token| token.contains("::")).map(parts);
    paths.filter(|path| path.len() > 1).collect()
}
