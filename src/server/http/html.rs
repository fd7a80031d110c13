//! Makes the HTML that Leptos renders valid. The document that a browser parses from it stays the same.

/// The marker that Leptos writes between nodes for hydration. To an HTML parser it is an error that yields an empty
/// comment.
const MARKER: &str = "<!>";

/// A valid empty comment.
const COMMENT: &str = "<!---->";

const END: &str = "</html>";

/// Replaces Leptos's markers with comments, and removes everything after `</html>`.
///
/// Leptos writes a script with the data of resources after the end of the document. Aforo's pages use no resources.
pub fn valid(rendered: &str) -> String {
    let document = rendered.find(END).map_or(rendered, |at| &rendered[..at + END.len()]);
    document.replace(MARKER, COMMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_become_comments_and_nothing_follows_the_document() {
        let rendered = "<!DOCTYPE html><html><body>a<!>b<!----></body></html><script>__RESOLVED=[]</script>";
        assert_eq!(valid(rendered), "<!DOCTYPE html><html><body>a<!---->b<!----></body></html>");
        assert_eq!(valid("no document"), "no document");
    }
}
