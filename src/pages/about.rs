/// Where the visitor has found this site, as in `https://your.site`. What is shared names whole addresses.
#[derive(Debug, Clone)]
pub struct SiteOrigin(pub String);
