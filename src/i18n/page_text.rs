//! The texts of the pages in each language.

#![allow(missing_docs, reason = "the names of the fields say where the texts are")]

use super::Locale;

/// The texts of the pages.
#[derive(Debug)]
pub struct PageText {
    pub tagline: &'static str,
    pub channel_name: &'static str,
    /// The rules for a channel name.
    pub name_hint: &'static str,
    pub name_missing: &'static str,
    pub name_invalid: &'static str,
    pub open: &'static str,
    pub player: PlayerText,
    pub follow: &'static str,
    /// Explains a stale badge to readers without a pointer to hover with.
    pub stale: &'static str,
    /// Explains an unknown badge.
    pub unknown: &'static str,
    pub legend: LegendText,
    pub share: ShareText,
    pub invalid_name: &'static str,
    pub page_not_found: &'static str,
    pub page_not_found_hint: &'static str,
    pub home: &'static str,
    pub live_now: &'static str,
    pub also_live: &'static str,
    pub no_viewers: &'static str,
    pub no_viewers_hint: &'static str,
    /// No channel is on air, by the live signals.
    pub none_on_air: &'static str,
    pub none_on_air_hint: &'static str,
    pub live_unknown: &'static str,
    /// The description of a channel page, after the channel's name.
    pub channel_about: &'static str,
}

/// The messages of the player while it shows no video.
#[derive(Debug)]
pub struct PlayerText {
    pub label: &'static str,
    /// No stream URL is configured on this site.
    pub no_stream: &'static str,
    /// Explains a missing video where scripts don't run.
    pub no_script: &'static str,
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

/// The texts of the share box.
#[derive(Debug)]
pub struct ShareText {
    pub title: &'static str,
    pub link: &'static str,
    pub embed: &'static str,
    pub share: &'static str,
    pub copy: &'static str,
    pub copied: &'static str,
}

/// The texts of the pages in a language.
pub const fn page_text(locale: Locale) -> &'static PageText {
    match locale {
        Locale::Es => &PageText {
            tagline: "Cuánta gente está mirando ahora mismo",
            channel_name: "Nombre del canal",
            name_hint: "Hasta 64 caracteres: letras sin tilde ni ñ, números, puntos, guiones y guiones bajos.",
            name_missing: "Escribe el nombre de un canal.",
            name_invalid: "Ese nombre no es válido. Usa hasta 64 caracteres: letras sin tilde ni ñ, números, puntos, guiones y guiones bajos.",
            open: "Ver canal",
            player: PlayerText {
                label: "Reproductor de",
                no_stream: "Aquí se verá la transmisión",
                no_script: "Si la transmisión no empieza, este navegador no puede reproducirla.",
                loading: "Cargando la transmisión…",
                off_air: "El canal no está en vivo",
                off_air_hint: "Cuando empiece la transmisión, aparecerá aquí automáticamente.",
                broken: "No se pudo cargar la transmisión",
                broken_hint: "Lo intentaremos de nuevo en un momento.",
                retry: "Reintentar ahora",
                ready: "Presiona el botón de reproducir",
                unplayable: "Este navegador no puede reproducir la transmisión",
            },
            follow: "Seguir este canal. Seguidores:",
            stale: "Este número puede estar desactualizado: no llegan datos nuevos.",
            unknown: "El número de espectadores no está disponible en este momento.",
            legend: LegendText {
                title: "Qué significan los colores",
                live: "Mirando ahora mismo.",
                stale: "Puede estar desactualizado: no llegan datos nuevos.",
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
            invalid_name: "Nombre de canal no válido",
            page_not_found: "Página no encontrada",
            page_not_found_hint: "Revisa que la dirección esté bien escrita.",
            home: "Volver al inicio",
            live_now: "En vivo ahora",
            also_live: "También en vivo",
            no_viewers: "Todavía no hay nadie mirando.",
            no_viewers_hint: "Entra a un canal y sé el primer espectador.",
            none_on_air: "No hay canales en vivo en este momento.",
            none_on_air_hint: "Cuando empiece una transmisión, aparecerá aquí.",
            live_unknown: "La lista de canales en vivo no está disponible en este momento.",
            channel_about: " en vivo: mira la transmisión y cuánta gente la está viendo ahora mismo.",
        },
        Locale::En => &PageText {
            tagline: "How many people are watching right now",
            channel_name: "Channel name",
            name_hint: "Up to 64 characters: letters a to z, numbers, dots, hyphens and underscores.",
            name_missing: "Enter the name of a channel.",
            name_invalid: "That name isn’t valid. Use up to 64 characters: letters a to z, numbers, dots, hyphens and underscores.",
            open: "Watch",
            player: PlayerText {
                label: "Player for",
                no_stream: "The stream will appear here",
                no_script: "If the stream doesn’t start, this browser can’t play it.",
                loading: "Loading the stream…",
                off_air: "This channel is offline",
                off_air_hint: "When the stream starts, it will appear here automatically.",
                broken: "The stream couldn’t be loaded",
                broken_hint: "We’ll try again in a moment.",
                retry: "Try again now",
                ready: "Press play to watch",
                unplayable: "This browser can’t play the stream",
            },
            follow: "Follow this channel. Followers:",
            stale: "This number may be out of date: no new data is arriving.",
            unknown: "The viewer count isn’t available right now.",
            legend: LegendText {
                title: "What the colors mean",
                live: "Watching right now.",
                stale: "May be out of date: no new data is arriving.",
                unknown: "No data right now.",
            },
            share: ShareText {
                title: "Share",
                link: "Link",
                embed: "Embed code",
                share: "Share",
                copy: "Copy",
                copied: "Copied",
            },
            invalid_name: "Invalid channel name",
            page_not_found: "Page not found",
            page_not_found_hint: "Check that the address is correct.",
            home: "Back to home",
            live_now: "Live now",
            also_live: "Also live",
            no_viewers: "Nobody is watching yet.",
            no_viewers_hint: "Open a channel and be the first viewer.",
            none_on_air: "No channels are live right now.",
            none_on_air_hint: "When a stream starts, it will appear here.",
            live_unknown: "The list of live channels isn’t available right now.",
            channel_about: " live: watch the stream and see how many people are watching right now.",
        },
        Locale::Pt => &PageText {
            tagline: "Quanta gente está assistindo agora",
            channel_name: "Nome do canal",
            name_hint: "Até 64 caracteres: letras sem acento nem cedilha, números, pontos, hifens e sublinhados.",
            name_missing: "Digite o nome de um canal.",
            name_invalid: "Esse nome não é válido. Use até 64 caracteres: letras sem acento nem cedilha, números, pontos, hifens e sublinhados.",
            open: "Ver canal",
            player: PlayerText {
                label: "Player de",
                no_stream: "A transmissão aparecerá aqui",
                no_script: "Se a transmissão não começar, este navegador não consegue reproduzi-la.",
                loading: "Carregando a transmissão…",
                off_air: "O canal não está ao vivo",
                off_air_hint: "Quando a transmissão começar, ela aparecerá aqui automaticamente.",
                broken: "Não foi possível carregar a transmissão",
                broken_hint: "Vamos tentar de novo em instantes.",
                retry: "Tentar novamente",
                ready: "Aperte o play para assistir",
                unplayable: "Este navegador não consegue reproduzir a transmissão",
            },
            follow: "Seguir este canal. Seguidores:",
            stale: "Este número pode estar desatualizado: não há dados novos.",
            unknown: "O número de espectadores não está disponível no momento.",
            legend: LegendText {
                title: "O que significam as cores",
                live: "Assistindo agora.",
                stale: "Pode estar desatualizado: não há dados novos.",
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
            invalid_name: "Nome de canal inválido",
            page_not_found: "Página não encontrada",
            page_not_found_hint: "Verifique se o endereço está correto.",
            home: "Voltar ao início",
            live_now: "Ao vivo agora",
            also_live: "Também ao vivo",
            no_viewers: "Ninguém está assistindo ainda.",
            no_viewers_hint: "Entre em um canal e seja o primeiro espectador.",
            none_on_air: "Nenhum canal está ao vivo no momento.",
            none_on_air_hint: "Quando uma transmissão começar, ela aparecerá aqui.",
            live_unknown: "A lista de canais ao vivo não está disponível no momento.",
            channel_about: " ao vivo: assista à transmissão e veja quanta gente está assistindo agora.",
        },
    }
}
