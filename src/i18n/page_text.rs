//! The texts of the pages in each language.

use super::Locale;

/// What the pages say.
#[derive(Debug)]
pub struct PageText {
    pub tagline: &'static str,
    pub channel_name: &'static str,
    /// How a name is written.
    pub name_hint: &'static str,
    pub name_missing: &'static str,
    pub name_invalid: &'static str,
    pub open: &'static str,
    pub player: PlayerText,
    pub follow: &'static str,
    /// What badges mean that are not current, for readers who have no pointer to hover with.
    pub stale: &'static str,
    pub unknown: &'static str,
    pub legend: LegendText,
    pub share: ShareText,
    pub invalid_name: &'static str,
    pub page_missing: &'static str,
    pub page_missing_hint: &'static str,
    pub home: &'static str,
    pub live_now: &'static str,
    pub also_live: &'static str,
    pub nobody: &'static str,
    pub nobody_hint: &'static str,
    pub live_unknown: &'static str,
    /// Behind the name of a channel.
    pub channel_about: &'static str,
}

/// What the player says in place of a picture.
#[derive(Debug)]
pub struct PlayerText {
    pub label: &'static str,
    /// There is no stream to play on this site.
    pub none: &'static str,
    /// Without scripts nothing else tells why there is no picture.
    pub plain: &'static str,
    pub loading: &'static str,
    pub off_air: &'static str,
    pub off_air_hint: &'static str,
    pub broken: &'static str,
    pub broken_hint: &'static str,
    pub retry: &'static str,
    pub ready: &'static str,
    pub unplayable: &'static str,
}

/// The legend of the badges.
#[derive(Debug)]
pub struct LegendText {
    pub title: &'static str,
    pub live: &'static str,
    pub stale: &'static str,
    pub unknown: &'static str,
}

/// How to pass a channel on.
#[derive(Debug)]
pub struct ShareText {
    pub title: &'static str,
    pub link: &'static str,
    pub embed: &'static str,
    pub share: &'static str,
    pub copy: &'static str,
    pub copied: &'static str,
}

/// The words of a language.
pub const fn page_text(locale: Locale) -> &'static PageText {
    match locale {
        Locale::Es => &PageText {
            tagline: "Cuánta gente está mirando, ahora mismo",
            channel_name: "Nombre del canal",
            name_hint: "Letras sin tilde, números, puntos, guiones y guiones bajos; 64 como máximo.",
            name_missing: "Escribe el nombre de un canal.",
            name_invalid: "Ese nombre no es válido. Usa solo letras sin tilde ni ñ, números, puntos, guiones y guiones bajos; 64 como máximo.",
            open: "Ver canal",
            player: PlayerText {
                label: "Reproductor de",
                none: "Aquí se verá la transmisión",
                plain: "Si no empieza la transmisión, este navegador no la reproduce.",
                loading: "Cargando la transmisión…",
                off_air: "El canal no está en vivo",
                off_air_hint: "Cuando empiece la transmisión, la verás aquí sin recargar la página.",
                broken: "No llega la transmisión",
                broken_hint: "Se volverá a intentar en un momento.",
                retry: "Reintentar ahora",
                ready: "Pulsa el botón de reproducir",
                unplayable: "Este navegador no puede reproducir la transmisión",
            },
            follow: "Seguir este canal. Seguidores:",
            stale: "El número es de hace un momento: ahora no llegan datos nuevos.",
            unknown: "Ahora no se puede saber cuánta gente está mirando.",
            legend: LegendText {
                title: "Qué significan los colores",
                live: "Mirando ahora mismo.",
                stale: "Dato de hace un momento: no llegan datos nuevos.",
                unknown: "Sin datos por ahora.",
            },
            share: ShareText {
                title: "Compartir",
                link: "Enlace",
                embed: "Código para insertar",
                share: "Compartir",
                copy: "Copiar",
                copied: "Copiado",
            },
            invalid_name: "Ese nombre de canal no es válido",
            page_missing: "Esta página no existe",
            page_missing_hint: "Puede que la dirección esté mal escrita.",
            home: "Ir al inicio",
            live_now: "En vivo ahora",
            also_live: "También en vivo",
            nobody: "Nadie está mirando nada todavía.",
            nobody_hint: "Entra a un canal y serás su primer espectador.",
            live_unknown: "Ahora no se puede saber qué canales están en vivo.",
            channel_about: " en vivo: la transmisión y cuánta gente la está mirando ahora mismo.",
        },
        Locale::En => &PageText {
            tagline: "How many people are watching, right now",
            channel_name: "Channel name",
            name_hint: "Letters a to z, digits, dots, hyphens and underscores; 64 at most.",
            name_missing: "Enter the name of a channel.",
            name_invalid: "That name isn’t valid. Use only letters a to z, digits, dots, hyphens and underscores; 64 at most.",
            open: "Watch",
            player: PlayerText {
                label: "Player for",
                none: "The stream will show here",
                plain: "If the stream doesn’t start, this browser can’t play it.",
                loading: "Loading the stream…",
                off_air: "This channel is off air",
                off_air_hint: "When the stream starts, it plays here without a reload.",
                broken: "The stream isn’t coming through",
                broken_hint: "We’ll try again in a moment.",
                retry: "Try again now",
                ready: "Press play to watch",
                unplayable: "This browser can’t play the stream",
            },
            follow: "Follow this channel. Followers:",
            stale: "This number is from a moment ago: no new data is coming in.",
            unknown: "We can’t tell how many people are watching right now.",
            legend: LegendText {
                title: "What the colours mean",
                live: "Watching right now.",
                stale: "From a moment ago: no new data is coming in.",
                unknown: "No data for now.",
            },
            share: ShareText {
                title: "Share",
                link: "Link",
                embed: "Embed code",
                share: "Share",
                copy: "Copy",
                copied: "Copied",
            },
            invalid_name: "That isn’t a valid channel name",
            page_missing: "This page doesn’t exist",
            page_missing_hint: "The address may be misspelled.",
            home: "Go to the home page",
            live_now: "Live now",
            also_live: "Also live",
            nobody: "Nobody is watching anything yet.",
            nobody_hint: "Open a channel and be its first viewer.",
            live_unknown: "We can’t tell which channels are live right now.",
            channel_about: " live: the stream, and how many people are watching it right now.",
        },
        Locale::Pt => &PageText {
            tagline: "Quanta gente está assistindo, agora mesmo",
            channel_name: "Nome do canal",
            name_hint: "Letras sem acento, números, pontos, hifens e sublinhados; 64 no máximo.",
            name_missing: "Digite o nome de um canal.",
            name_invalid: "Esse nome não é válido. Use só letras sem acento nem cedilha, números, pontos, hifens e sublinhados; 64 no máximo.",
            open: "Ver canal",
            player: PlayerText {
                label: "Player de",
                none: "A transmissão aparecerá aqui",
                plain: "Se a transmissão não começar, este navegador não consegue reproduzi-la.",
                loading: "Carregando a transmissão…",
                off_air: "O canal não está ao vivo",
                off_air_hint: "Quando a transmissão começar, ela aparece aqui sem recarregar a página.",
                broken: "A transmissão não está chegando",
                broken_hint: "Vamos tentar de novo em instantes.",
                retry: "Tentar agora",
                ready: "Aperte o botão de reproduzir",
                unplayable: "Este navegador não consegue reproduzir a transmissão",
            },
            follow: "Seguir este canal. Seguidores:",
            stale: "O número é de instantes atrás: não estão chegando dados novos.",
            unknown: "Não dá para saber agora quanta gente está assistindo.",
            legend: LegendText {
                title: "O que significam as cores",
                live: "Assistindo agora mesmo.",
                stale: "Dado de instantes atrás: não estão chegando dados novos.",
                unknown: "Sem dados por enquanto.",
            },
            share: ShareText {
                title: "Compartilhar",
                link: "Link",
                embed: "Código para incorporar",
                share: "Compartilhar",
                copy: "Copiar",
                copied: "Copiado",
            },
            invalid_name: "Esse nome de canal não é válido",
            page_missing: "Esta página não existe",
            page_missing_hint: "Talvez o endereço esteja escrito errado.",
            home: "Ir para o início",
            live_now: "Ao vivo agora",
            also_live: "Também ao vivo",
            nobody: "Ninguém está assistindo a nada ainda.",
            nobody_hint: "Entre em um canal e seja o primeiro espectador.",
            live_unknown: "Não dá para saber agora quais canais estão ao vivo.",
            channel_about: " ao vivo: a transmissão e quanta gente está assistindo agora mesmo.",
        },
    }
}
