//! The texts of the statistics page in each language. Words in braces are replaced.

#![allow(missing_docs, reason = "the names of the fields say where the texts are")]

use super::Locale;

/// The texts of the statistics page.
#[derive(Debug)]
pub struct StatsText {
    pub title: &'static str,
    pub refused: &'static str,
    pub refused_hint: &'static str,
    /// The channel is on air: `{when}` is the start, `{length}` the time since.
    pub on_air: &'static str,
    /// The channel was on air: `{when}`, `{length}`.
    pub was_on_air: &'static str,
    pub never: &'static str,
    pub never_hint: &'static str,
    /// The database does not answer.
    pub away: &'static str,
    /// The chart could not be updated since `{when}`.
    pub outdated: &'static str,
    pub reload: &'static str,
    pub this_broadcast: &'static str,
    pub last_broadcast: &'static str,
    /// A broadcast in the past: `{when}`.
    pub broadcast_of: &'static str,
    /// The links to the ranges.
    pub range: &'static str,
    pub day: &'static str,
    pub week: &'static str,
    pub month: &'static str,
    pub last_day: &'static str,
    pub last_week: &'static str,
    pub last_month: &'static str,
    pub figures: FigureText,
    pub chart: ChartText,
    pub table: TableText,
    pub places: PlacesText,
    pub broadcasts: BroadcastsText,
    pub zone: ZoneText,
    pub meaning: &'static str,
    /// The links of channel pages to this page.
    pub link: &'static str,
}

/// The names of the figures, and what they mean.
#[derive(Debug)]
pub struct FigureText {
    pub peak: &'static str,
    pub average: &'static str,
    pub uniques: &'static str,
    pub watch_time: &'static str,
    pub observed: &'static str,
    pub new_viewers: &'static str,
    /// Joins with and without a ticket.
    pub joins: &'static str,
    pub peak_meaning: &'static str,
    pub average_meaning: &'static str,
    pub uniques_meaning: &'static str,
    pub watch_time_meaning: &'static str,
    pub observed_meaning: &'static str,
    pub new_viewers_meaning: &'static str,
    pub joins_meaning: &'static str,
}

/// The texts of the chart.
#[derive(Debug)]
pub struct ChartText {
    pub title: &'static str,
    pub average: &'static str,
    pub band: &'static str,
    pub peak: &'static str,
    pub gap: &'static str,
    pub partial: &'static str,
    /// The slider that goes through the instants.
    pub cursor: &'static str,
    /// Invites to point at the chart.
    pub hint: &'static str,
    pub csv: &'static str,
}

/// The texts of the table behind the chart.
#[derive(Debug)]
pub struct TableText {
    pub title: &'static str,
    pub instant: &'static str,
    pub min: &'static str,
    pub average: &'static str,
    pub max: &'static str,
    pub new_viewers: &'static str,
    pub observed: &'static str,
}

/// The texts of new viewers by place.
#[derive(Debug)]
pub struct PlacesText {
    pub title: &'static str,
    pub place: &'static str,
    pub site: &'static str,
    pub other: &'static str,
    pub none: &'static str,
    pub all: &'static str,
    pub share: &'static str,
}

/// The texts of the list of broadcasts.
#[derive(Debug)]
pub struct BroadcastsText {
    pub title: &'static str,
    pub on_air: &'static str,
    pub none: &'static str,
    pub older: &'static str,
    pub newest: &'static str,
}

/// The texts of the form that changes the time zone.
#[derive(Debug)]
pub struct ZoneText {
    pub label: &'static str,
    pub apply: &'static str,
    /// `{zone}`.
    pub note: &'static str,
}

/// The texts of the statistics page in a language.
#[must_use]
pub const fn stats_text(locale: Locale) -> &'static StatsText {
    match locale {
        Locale::Es => &StatsText {
            title: "Estadísticas",
            refused: "Estas estadísticas son privadas",
            refused_hint: "Para verlas hace falta un enlace que da el sitio a cada canal. El enlace que abriste no lo es, es de otro canal o ya venció. Pide uno nuevo donde administras tu canal.",
            on_air: "En vivo desde {when} · {length}",
            was_on_air: "Última transmisión: {when} · {length}",
            never: "Este canal todavía no tiene transmisiones",
            never_hint: "Las cifras aparecerán aquí cuando alguien lo mire.",
            away: "Las cifras guardadas no están disponibles en este momento. El número de espectadores de ahora sí está al día.",
            outdated: "Las cifras del gráfico son de {when}: no llegan datos nuevos.",
            reload: "Actualizar",
            this_broadcast: "Esta transmisión",
            last_broadcast: "Última transmisión",
            broadcast_of: "Transmisión: {when}",
            range: "Periodo",
            day: "24 h",
            week: "7 días",
            month: "30 días",
            last_day: "Últimas 24 horas",
            last_week: "Últimos 7 días",
            last_month: "Últimos 30 días",
            figures: FigureText {
                peak: "Pico",
                average: "Promedio",
                uniques: "Espectadores únicos",
                watch_time: "Tiempo visto",
                observed: "Tiempo con datos",
                new_viewers: "Espectadores nuevos",
                joins: "Llegadas con / sin ticket",
                peak_meaning: "La mayor cantidad de espectadores al mismo tiempo, y la primera vez que se alcanzó.",
                average_meaning: "El tiempo visto dividido por el tiempo con datos.",
                uniques_meaning: "Cuántos navegadores distintos miraron. Un número con ≈ es una estimación, con un error menor al 2 %.",
                watch_time_meaning: "La suma del tiempo que miró cada espectador.",
                observed_meaning: "La parte del tiempo en que se conocía el número. Lo que no se conoce no cuenta como 0.",
                new_viewers_meaning: "Quienes miran por primera vez en una transmisión, según dónde: en este sitio o en otro que inserta el reproductor. Lo que dicen los navegadores de otros sitios no se puede comprobar.",
                joins_meaning: "Cuántas veces alguien abrió el canal con un ticket del sitio, que dice qué cuenta es, y cuántas sin uno. Cuenta cada página que se abre.",
            },
            chart: ChartText {
                title: "Espectadores",
                average: "promedio",
                band: "de mínimo a máximo",
                peak: "pico",
                gap: "sin datos",
                partial: "datos incompletos",
                cursor: "Recorrer el gráfico",
                hint: "Señala o toca el gráfico para ver un momento.",
                csv: "Descargar CSV",
            },
            table: TableText {
                title: "Ver los datos en una tabla",
                instant: "Desde",
                min: "Mínimo",
                average: "Promedio",
                max: "Máximo",
                new_viewers: "Nuevos",
                observed: "Con datos",
            },
            places: PlacesText {
                title: "De dónde llegan los espectadores nuevos",
                place: "Lugar",
                site: "Este sitio",
                other: "Otros sitios",
                none: "No llegó nadie nuevo en este periodo.",
                all: "Todos",
                share: "Parte",
            },
            broadcasts: BroadcastsText {
                title: "Transmisiones",
                on_air: "en vivo",
                none: "No hay más transmisiones.",
                older: "Anteriores",
                newest: "Las más recientes",
            },
            zone: ZoneText { label: "Zona horaria", apply: "Cambiar", note: "Las horas son de {zone}." },
            meaning: "Qué significan estas cifras",
            link: "Estadísticas del canal",
        },
        Locale::En => &StatsText {
            title: "Statistics",
            refused: "These statistics are private",
            refused_hint: "To see them you need a link that the site gives to each channel. The link that you opened isn’t one, is for another channel, or has expired. Get a new one where you manage your channel.",
            on_air: "Live since {when} · {length}",
            was_on_air: "Last broadcast: {when} · {length}",
            never: "This channel has no broadcasts yet",
            never_hint: "Figures will appear here when someone watches it.",
            away: "The saved figures aren’t available right now. The number of viewers right now is up to date.",
            outdated: "The figures of the chart are from {when}: no new data is arriving.",
            reload: "Reload",
            this_broadcast: "This broadcast",
            last_broadcast: "Last broadcast",
            broadcast_of: "Broadcast: {when}",
            range: "Range",
            day: "24 h",
            week: "7 days",
            month: "30 days",
            last_day: "Last 24 hours",
            last_week: "Last 7 days",
            last_month: "Last 30 days",
            figures: FigureText {
                peak: "Peak",
                average: "Average",
                uniques: "Unique viewers",
                watch_time: "Watch time",
                observed: "Time with data",
                new_viewers: "New viewers",
                joins: "Arrivals with / without ticket",
                peak_meaning: "The highest number of viewers at one time, and when it was first reached.",
                average_meaning: "The watch time divided by the time with data.",
                uniques_meaning: "How many different browsers watched. A number with ≈ is an estimate with an error below 2%.",
                watch_time_meaning: "The sum of the time that each viewer watched.",
                observed_meaning: "The share of the time in which the number was known. What isn’t known doesn’t count as 0.",
                new_viewers_meaning: "Those who watch for the first time in a broadcast, by where: on this site, or on another one that embeds the player. What browsers on other sites say can’t be verified.",
                joins_meaning: "How many times someone opened the channel with a ticket of the site, which says whose account it is, and how many times without one. Every opened page counts.",
            },
            chart: ChartText {
                title: "Viewers",
                average: "average",
                band: "minimum to maximum",
                peak: "peak",
                gap: "no data",
                partial: "incomplete data",
                cursor: "Go through the chart",
                hint: "Point at or tap the chart to see a moment.",
                csv: "Download CSV",
            },
            table: TableText {
                title: "See the data as a table",
                instant: "From",
                min: "Minimum",
                average: "Average",
                max: "Maximum",
                new_viewers: "New",
                observed: "With data",
            },
            places: PlacesText {
                title: "Where new viewers come from",
                place: "Place",
                site: "This site",
                other: "Other sites",
                none: "Nobody new came in this range.",
                all: "All",
                share: "Share",
            },
            broadcasts: BroadcastsText {
                title: "Broadcasts",
                on_air: "live",
                none: "There are no more broadcasts.",
                older: "Older",
                newest: "The newest",
            },
            zone: ZoneText { label: "Time zone", apply: "Change", note: "Times are in {zone}." },
            meaning: "What these figures mean",
            link: "Statistics of the channel",
        },
        Locale::Pt => &StatsText {
            title: "Estatísticas",
            refused: "Estas estatísticas são privadas",
            refused_hint: "Para vê-las é preciso um link que o site dá a cada canal. O link que você abriu não é um deles, é de outro canal ou já expirou. Peça um novo onde você administra o seu canal.",
            on_air: "Ao vivo desde {when} · {length}",
            was_on_air: "Última transmissão: {when} · {length}",
            never: "Este canal ainda não tem transmissões",
            never_hint: "Os números aparecerão aqui quando alguém assistir.",
            away: "Os números guardados não estão disponíveis no momento. O número de espectadores de agora está atualizado.",
            outdated: "Os números do gráfico são de {when}: não há dados novos.",
            reload: "Atualizar",
            this_broadcast: "Esta transmissão",
            last_broadcast: "Última transmissão",
            broadcast_of: "Transmissão: {when}",
            range: "Período",
            day: "24 h",
            week: "7 dias",
            month: "30 dias",
            last_day: "Últimas 24 horas",
            last_week: "Últimos 7 dias",
            last_month: "Últimos 30 dias",
            figures: FigureText {
                peak: "Pico",
                average: "Média",
                uniques: "Espectadores únicos",
                watch_time: "Tempo assistido",
                observed: "Tempo com dados",
                new_viewers: "Espectadores novos",
                joins: "Chegadas com / sem ticket",
                peak_meaning: "O maior número de espectadores ao mesmo tempo, e a primeira vez em que foi alcançado.",
                average_meaning: "O tempo assistido dividido pelo tempo com dados.",
                uniques_meaning: "Quantos navegadores diferentes assistiram. Um número com ≈ é uma estimativa, com erro menor que 2%.",
                watch_time_meaning: "A soma do tempo que cada espectador assistiu.",
                observed_meaning: "A parte do tempo em que o número era conhecido. O que não se conhece não conta como 0.",
                new_viewers_meaning: "Quem assiste pela primeira vez em uma transmissão, por lugar: neste site ou em outro que incorpora o player. O que os navegadores de outros sites dizem não pode ser verificado.",
                joins_meaning: "Quantas vezes alguém abriu o canal com um ticket do site, que diz de que conta se trata, e quantas sem um. Cada página aberta conta.",
            },
            chart: ChartText {
                title: "Espectadores",
                average: "média",
                band: "do mínimo ao máximo",
                peak: "pico",
                gap: "sem dados",
                partial: "dados incompletos",
                cursor: "Percorrer o gráfico",
                hint: "Aponte ou toque no gráfico para ver um momento.",
                csv: "Baixar CSV",
            },
            table: TableText {
                title: "Ver os dados em uma tabela",
                instant: "Desde",
                min: "Mínimo",
                average: "Média",
                max: "Máximo",
                new_viewers: "Novos",
                observed: "Com dados",
            },
            places: PlacesText {
                title: "De onde vêm os espectadores novos",
                place: "Lugar",
                site: "Este site",
                other: "Outros sites",
                none: "Ninguém novo chegou neste período.",
                all: "Todos",
                share: "Parte",
            },
            broadcasts: BroadcastsText {
                title: "Transmissões",
                on_air: "ao vivo",
                none: "Não há mais transmissões.",
                older: "Anteriores",
                newest: "As mais recentes",
            },
            zone: ZoneText { label: "Fuso horário", apply: "Mudar", note: "Os horários são de {zone}." },
            meaning: "O que significam estes números",
            link: "Estatísticas do canal",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_the_same_words_to_replace() {
        for locale in Locale::ALL {
            let text = stats_text(locale);
            for (pattern, words) in [
                (text.on_air, &["{when}", "{length}"][..]),
                (text.was_on_air, &["{when}", "{length}"]),
                (text.outdated, &["{when}"]),
                (text.broadcast_of, &["{when}"]),
                (text.zone.note, &["{zone}"]),
            ] {
                assert_eq!(pattern.matches('{').count(), words.len(), "{pattern}");
                assert!(words.iter().all(|word| pattern.contains(word)), "{pattern}");
            }
        }
    }
}
