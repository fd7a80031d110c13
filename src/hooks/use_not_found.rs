use crate::platform;

/// Says that the page being rendered does not exist.
///
/// ## Server-Side Rendering
/// The page is answered with status 404. In the browser nothing happens.
pub fn use_not_found() {
    platform::set_not_found();
}
