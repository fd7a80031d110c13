//! `GET /oembed`: how to embed a channel page (<https://oembed.com>). Blogs and forums ask for it when somebody pastes
//! the address of a channel page. They find this endpoint by a link in the page's head.

use std::{collections::HashSet, io, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use super::{pages::site_origin, state::AppState};
use crate::{
    api::{Code, Problem},
    app::{EmbedSize, embed_code},
    domain::ChannelId,
    server::{listen::ConnectionInfo, site::Site},
};

/// How long an answer may be kept, in seconds. It changes only with a new version of the program.
const CACHE_AGE: u32 = 3_600;

/// The paths of one segment that are neither files nor channel pages.
const OTHER_PATHS: [&str; 4] = ["healthz", "metrics", "oembed", "readyz"];

/// The route.
///
/// # Errors
/// When the site cannot be read.
pub fn routes(site: &Site) -> io::Result<Router<AppState>> {
    let mut reserved: HashSet<_> = site.public_names()?.into_iter().collect();
    reserved.extend(OTHER_PATHS.map(str::to_owned));
    let reserved = Arc::new(reserved);
    let handler = async move |State(state): State<AppState>,
                              Extension(connection): Extension<ConnectionInfo>,
                              headers: HeaderMap,
                              uri: Uri| {
        let origin = site_origin(&state, &connection, &headers, &uri).map(|origin| origin.0);
        oembed(&uri, origin.as_deref(), &reserved)
    };
    Ok(Router::new().route("/oembed", get(handler)))
}

#[derive(Deserialize)]
struct OembedQuery {
    url: Option<String>,
    format: Option<String>,
    maxwidth: Option<String>,
    maxheight: Option<String>,
}

/// The answer (section 2.3.4 of the specification).
#[derive(Serialize)]
struct Oembed {
    #[serde(rename = "type")]
    kind: &'static str,
    version: &'static str,
    title: String,
    author_name: String,
    author_url: String,
    provider_name: &'static str,
    provider_url: String,
    cache_age: u32,
    html: String,
    width: u32,
    height: u32,
}

/// `origin`: the origin of this site, as the client addressed it. `reserved`: paths that are no channel pages.
fn oembed(uri: &Uri, origin: Option<&str>, reserved: &HashSet<String>) -> Result<Response, Problem> {
    let Query(query) = Query::<OembedQuery>::try_from_uri(uri)
        .map_err(|_| Problem::malformed("the query must have url, and each parameter once at most"))?;
    let url = query
        .url
        .filter(|url| !url.is_empty())
        .ok_or_else(|| Problem::malformed("the query must have url"))?;
    if query.format.is_some_and(|format| format != "json") {
        return Err(Problem::new(Code::NotImplemented).detail("the only format is json"));
    }
    let most = |name, text: Option<String>| match text.as_deref() {
        None | Some("") => Ok(u32::MAX),
        Some(text) => match text.parse() {
            Ok(0) | Err(_) => Err(Problem::malformed(name)),
            Ok(most) => Ok(most),
        },
    };
    let size = EmbedSize::DEFAULT.within(
        most("maxwidth must be a whole number above 0", query.maxwidth)?,
        most("maxheight must be a whole number above 0", query.maxheight)?,
    );
    let (channel, origin) = origin
        .and_then(|origin| Some((channel_at(&url, origin, reserved)?, origin)))
        .ok_or_else(|| Problem::new(Code::NotFound).detail("the URL is not a channel page of this site"))?;
    let answer = Oembed {
        kind: "video",
        version: "1.0",
        title: channel.to_string(),
        author_name: channel.to_string(),
        author_url: format!("{origin}/{channel}"),
        provider_name: "Aforo",
        provider_url: format!("{origin}/"),
        cache_age: CACHE_AGE,
        html: embed_code(origin, &channel, size),
        width: size.width,
        height: size.height,
    };
    let caching = format!("public, max-age={CACHE_AGE}");
    Ok(([(header::CACHE_CONTROL, caching)], Json(answer)).into_response())
}

/// The channel whose page is at a URL, if that is a page of this site. The scheme is not compared: behind a proxy the
/// server may not know it.
fn channel_at(url: &str, origin: &str, reserved: &HashSet<String>) -> Option<ChannelId> {
    let url: Uri = url.trim().parse().ok()?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    let (_, host) = origin.split_once("://")?;
    let is_own =
        without_default_port(url.authority()?.as_str()).eq_ignore_ascii_case(without_default_port(host));
    let name = url.path().strip_prefix('/')?;
    if is_web && is_own && !reserved.contains(name) { ChannelId::parse(name).ok() } else { None }
}

/// A host and port, without the port if it is that of HTTP or HTTPS.
fn without_default_port(authority: &str) -> &str {
    let default = [":443", ":80", ":"].iter().find_map(|port| authority.strip_suffix(port));
    default.unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(url: &str, origin: &str) -> Option<String> {
        let reserved = HashSet::from(["widget.js".to_owned()]);
        channel_at(url, origin, &reserved).map(|channel| channel.to_string())
    }

    #[test]
    fn channel_pages_of_this_site_have_a_channel() {
        for (url, origin) in [
            ("https://your.site/ana", "https://your.site"),
            ("http://your.site/ana", "https://your.site"),
            ("https://YOUR.site/Ana?utm_source=x#player", "https://your.site"),
            ("https://your.site:443/ana", "http://your.site"),
            ("https://your.site/ana", "http://your.site:80"),
            (" http://127.0.0.1:3000/ana ", "http://127.0.0.1:3000"),
            ("http://[::1]:3000/ana", "http://[::1]:3000"),
        ] {
            assert_eq!(channel(url, origin).as_deref(), Some("ana"), "{url} at {origin}");
        }
    }

    #[test]
    fn all_other_urls_have_none() {
        for url in [
            "",
            "/ana",
            "ana",
            "your.site/ana",
            "//your.site/ana",
            "ftp://your.site/ana",
            "javascript:alert(1)",
            "https://other.site/ana",
            "https://your.site.other/ana",
            "https://sub.your.site/ana",
            "https://your.site:8443/ana",
            "https://user@your.site/ana",
            "https://your.site",
            "https://your.site/",
            "https://your.site/embed/ana",
            "https://your.site/ana/",
            "https://your.site/a%20b",
            "https://your.site/widget.js",
            "https://your.site/<script>",
        ] {
            assert_eq!(channel(url, "https://your.site"), None, "{url}");
        }
    }
}
