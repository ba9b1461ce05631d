//! The pages of the manual as a reader takes them: block by block.

use std::path::Path;

use super::certs::Certs;

/// A fenced block.
#[derive(Debug, Clone)]
pub struct Block {
    /// What stands behind the fence; empty if nothing does.
    pub language: String,
    /// What it holds.
    pub text: String,
    /// The page and the line of the fence, for messages.
    pub place: String,
}

impl Block {
    /// The text without comments and blank lines, which is the same in every language.
    pub fn code(&self) -> String {
        let lines = self.text.lines().map(|line| line.split(" #").next().unwrap_or(line).trim_end());
        lines.filter(|line| !line.starts_with('#') && !line.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// The text of a page, by its path in the repository.
pub fn page(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails unless the tables of a page, each between `<!-- made: NAME -->` and `<!-- end -->`, are these; with
/// `TIDEGATE_BLESS` set, writes them.
pub fn keep(path: &str, tables: &[(&str, String)]) {
    let page = page(path);
    let mut made = page.clone();
    for (name, table) in tables {
        let (begin, end) = (format!("<!-- made: {name} -->\n"), "<!-- end -->");
        let (before, rest) =
            made.split_once(&begin).unwrap_or_else(|| panic!("no place for {name} in {path}"));
        let (_, after) = rest.split_once(end).expect("the place has an end");
        made = format!("{before}{begin}\n{table}\n{end}{after}");
    }
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        std::fs::write(file, &made).expect("the page can be written");
    } else {
        assert!(page == made, "{path} is stale: run TIDEGATE_BLESS=1 cargo test --test tests _page");
    }
}

/// All blocks of a page, in order. A fence may be indented, as it is in a list.
pub fn blocks(path: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<usize> = None;
    for (number, line) in page(path).lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match (open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(indent);
                let (language, place) = (language.trim().to_owned(), format!("{path}:{}", number + 1));
                blocks.push(Block { language, text: String::new(), place });
            }
            (Some(_), Some("")) => open = None,
            (Some(indent), _) => {
                let block = blocks.last_mut().expect("a fence opened it");
                block.text += line.get(indent.min(line.len())..).unwrap_or_default();
                block.text += "\n";
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{path}: a block is not closed");
    blocks
}

/// The first block of a page in a language.
pub fn first_block(path: &str, language: &str) -> Block {
    let found = blocks(path).into_iter().find(|block| block.language == language);
    found.unwrap_or_else(|| panic!("{path} has no {language} block"))
}

/// A whole configuration around a piece of one: an upstream and a route, if it has none.
pub fn completed(piece: &str) -> String {
    let table: toml::Table = piece.parse().unwrap_or_else(|error| panic!("{error}\n{piece}"));
    let mut text = piece.to_owned();
    if !table.contains_key("upstream") {
        text += "\n[upstream.ollama]\nurl = \"http://127.0.0.1:11434\"\n";
    }
    if !table.contains_key("route") {
        text += "\n[[route]]\nupstream = \"ollama\"\n";
    }
    text
}

/// The words that follow `mark` up to a quote, a blank or another delimiter.
pub fn words_after<'t>(text: &'t str, mark: &str) -> Vec<&'t str> {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ';' | ',' | '/' | '}' | ')');
    let words = text.split(mark).skip(1).filter_map(|rest| rest.split(ends).next());
    words.filter(|word| !word.is_empty()).collect()
}

/// The files of `certs` behind the paths that a configuration names.
pub fn certificates<'c>(text: &str, certs: &'c Certs) -> Vec<(String, &'c Path)> {
    let keys = [
        ("cert = \"", &certs.cert),
        ("key = \"", &certs.key),
        ("ca = \"", &certs.ca),
        ("ssl_certificate ", &certs.cert),
        ("ssl_certificate_key ", &certs.key),
    ];
    let named = keys.into_iter().flat_map(|(mark, file)| {
        let paths = text.split(mark).skip(1).filter_map(|rest| rest.split(['"', ';']).next());
        paths.map(move |path| (path.trim().to_owned(), file.as_path()))
    });
    named.filter(|(path, _)| path.starts_with('/')).collect()
}
