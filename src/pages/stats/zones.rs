//! The form that changes the time zone. Where scripts run, the page starts with the zone of the browser.

use leptos::prelude::*;

use super::{
    links::Links,
    times::{Times, offset},
};
use crate::{i18n::stats_text::stats_text, server::history::Zone};

/// The zones to choose from, with their names in their own languages. A zone that is not among them can be in the
/// address.
const ZONES: [(&str, &str); 36] = [
    ("UTC", "UTC"),
    ("America/Lima", "Lima"),
    ("America/Bogota", "Bogotá"),
    ("America/Guayaquil", "Guayaquil"),
    ("America/La_Paz", "La Paz"),
    ("America/Santiago", "Santiago de Chile"),
    ("America/Argentina/Buenos_Aires", "Buenos Aires"),
    ("America/Montevideo", "Montevideo"),
    ("America/Asuncion", "Asunción"),
    ("America/Caracas", "Caracas"),
    ("America/Mexico_City", "Ciudad de México"),
    ("America/Tijuana", "Tijuana"),
    ("America/Guatemala", "Guatemala"),
    ("America/El_Salvador", "San Salvador"),
    ("America/Tegucigalpa", "Tegucigalpa"),
    ("America/Managua", "Managua"),
    ("America/Costa_Rica", "San José"),
    ("America/Panama", "Panamá"),
    ("America/Havana", "La Habana"),
    ("America/Santo_Domingo", "Santo Domingo"),
    ("America/Puerto_Rico", "San Juan"),
    ("America/Sao_Paulo", "São Paulo"),
    ("America/Manaus", "Manaus"),
    ("America/Noronha", "Fernando de Noronha"),
    ("America/New_York", "New York"),
    ("America/Chicago", "Chicago"),
    ("America/Denver", "Denver"),
    ("America/Los_Angeles", "Los Angeles"),
    ("Europe/Madrid", "Madrid"),
    ("Atlantic/Canary", "Canarias"),
    ("Europe/Lisbon", "Lisboa"),
    ("Atlantic/Azores", "Açores"),
    ("Europe/London", "London"),
    ("Europe/Paris", "Paris"),
    ("Africa/Luanda", "Luanda"),
    ("Africa/Maputo", "Maputo"),
];

/// The note that names the time zone, and the form that changes it.
#[component]
pub(super) fn ZoneForm(times: Times, links: Links) -> impl IntoView {
    let text = &stats_text(times.locale).zone;
    let present = times.zone.name().to_owned();
    let note = text.note.replace("{zone}", &label(&times.zone, &times));
    let known = ZONES.iter().any(|(zone, _)| *zone == present);
    let other = (!known).then(|| times.zone.clone());
    let zones = ZONES.iter().filter_map(|(zone, _)| Zone::parse(zone).ok());
    let options = other.into_iter().chain(zones).map(|zone| {
        let name = zone.name().to_owned();
        let is_present = name == present;
        view! {
            <option value=name selected=is_present>
                {label(&zone, &times)}
            </option>
        }
    });
    let options = options.collect_view();
    let fields = links.fields().into_iter().map(|(name, value)| {
        view! { <input type="hidden" name=name value=value /> }
    });
    view! {
        <form class="zone" action=links.path() data-part="zone">
            <p class="zone__note">{note}</p>
            {fields.collect_view()}
            <label for="zone">{text.label}</label>
            <select class="field" id="zone" name="tz">
                {options}
            </select>
            <button class="button" id="apply-zone" type="submit">
                {text.apply}
            </button>
        </form>
    }
    .into_any()
}

/// The name of a zone with its present offset: "Lima (UTC−5)".
fn label(zone: &Zone, times: &Times) -> String {
    let known = ZONES.iter().find(|(name, _)| *name == zone.name()).map(|(_, city)| (*city).to_owned());
    let city = known.unwrap_or_else(|| zone.name().rsplit('/').next().unwrap_or_default().replace('_', " "));
    let offset = offset(&zone.wall(times.now));
    if city == offset { city } else { format!("{city} ({offset})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Timestamp, i18n::Locale};

    #[test]
    fn every_zone_exists_under_its_name() {
        for (name, _) in ZONES {
            assert_eq!(Zone::parse(name).map(|zone| zone.name().to_owned()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn zones_are_named_by_city_and_offset() {
        let times = Times::new(Zone::utc(), Locale::Es, Timestamp::from_millis(1_790_000_000_000));
        let label_of = |name| label(&Zone::parse(name).unwrap(), &times);
        assert_eq!(label_of("UTC"), "UTC");
        assert_eq!(label_of("America/Bogota"), "Bogotá (UTC−5)");
        assert_eq!(label_of("America/Port_of_Spain"), "Port of Spain (UTC−4)");
        assert_eq!(label_of("Asia/Kathmandu"), "Kathmandu (UTC+5:45)");
    }
}
