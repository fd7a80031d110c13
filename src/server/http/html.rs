//! The last touches to the HTML that Leptos renders. They change nothing in the document that a browser makes of it.

/// What Leptos puts between nodes, so that the browser's half finds them. By the HTML standard it is a parse error that
/// gives an empty comment.
const MARKER: &str = "<!>";

/// An empty comment without the parse error.
const COMMENT: &str = "<!---->";

const END: &str = "</html>";

/// Makes valid HTML of what Leptos renders.
///
/// Leptos puts a script with the data of its resources behind the end of the document. Our pages have no resources, so it
/// is left out.
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
