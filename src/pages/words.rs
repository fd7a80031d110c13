//! What the pages say, in each language.

use crate::domain::Locale;

/// What the pages say.
#[derive(Debug)]
pub(super) struct Words {
    pub tagline: &'static str,
    pub channel_name: &'static str,
    pub open: &'static str,
    pub player_of: &'static str,
    pub offline: &'static str,
    pub starting: &'static str,
    pub follow: &'static str,
    pub not_found: &'static str,
    pub not_found_hint: &'static str,
    pub home: &'static str,
    pub live_now: &'static str,
    pub nobody: &'static str,
    pub nobody_hint: &'static str,
    pub live_unknown: &'static str,
    /// Behind the name of a channel.
    pub channel_about: &'static str,
}

/// The words of a language.
pub(super) const fn words(locale: Locale) -> &'static Words {
    match locale {
        Locale::Es => &Words {
            tagline: "Cuánta gente está mirando, ahora mismo",
            channel_name: "Nombre del canal",
            open: "Abrir",
            player_of: "Reproductor de",
            offline: "Aquí se verá la transmisión",
            starting: "Si no empieza la transmisión, este navegador no la reproduce.",
            follow: "Seguir este canal. Seguidores:",
            not_found: "Esta página no existe",
            not_found_hint: "Un canal se llama con 1 a 64 letras, números, puntos, guiones o guiones bajos.",
            home: "Ir al inicio",
            live_now: "En vivo ahora",
            nobody: "Nadie está mirando nada todavía.",
            nobody_hint: "Abre un canal: quien lo abre cuenta como el primer espectador.",
            live_unknown: "No se puede saber ahora mismo qué canales están en vivo.",
            channel_about: " en vivo: la transmisión y cuánta gente la está mirando ahora mismo.",
        },
        Locale::En => &Words {
            tagline: "How many people are watching, right now",
            channel_name: "Channel name",
            open: "Open",
            player_of: "Player of",
            offline: "The stream will show here",
            starting: "If the stream doesn’t start, this browser can’t play it.",
            follow: "Follow this channel. Followers:",
            not_found: "There is no such page",
            not_found_hint: "A channel's name is 1 to 64 letters, digits, dots, hyphens or underscores.",
            home: "Go to the start",
            live_now: "Live now",
            nobody: "Nobody is watching anything yet.",
            nobody_hint: "Open a channel: whoever opens it is its first viewer.",
            live_unknown: "Which channels are live can’t be told just now.",
            channel_about: " live: the stream, and how many people are watching it right now.",
        },
        Locale::Pt => &Words {
            tagline: "Quanta gente está assistindo, agora mesmo",
            channel_name: "Nome do canal",
            open: "Abrir",
            player_of: "Player de",
            offline: "A transmissão aparecerá aqui",
            starting: "Se a transmissão não começar, este navegador não a reproduz.",
            follow: "Seguir este canal. Seguidores:",
            not_found: "Esta página não existe",
            not_found_hint: "O nome de um canal tem de 1 a 64 letras, números, pontos, hifens ou sublinhados.",
            home: "Ir para o início",
            live_now: "Ao vivo agora",
            nobody: "Ninguém está assistindo a nada ainda.",
            nobody_hint: "Abra um canal: quem abre é o primeiro espectador.",
            live_unknown: "Não dá para saber agora quais canais estão ao vivo.",
            channel_about: " ao vivo: a transmissão e quanta gente está assistindo agora mesmo.",
        },
    }
}
