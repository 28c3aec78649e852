//! What the exporter of traces is told beside its address.

use super::Telemetry;
use super::faults::ConfigFaults;
use super::rules::http_url;
use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// `name=value,name=value`, values as in a URL, by OpenTelemetry's rules. A fault names no value: most are secrets.
pub fn otlp_headers(text: &str) -> impl Iterator<Item = Result<(HeaderName, HeaderValue), String>> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or("must be name=value, with commas between")?;
        let name = HeaderName::try_from(name.trim())
            .map_err(|_| format!("{:?} is not the name of a header", name.trim()))?;
        let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value of {name} is not one of a header"))?;
        value.set_sensitive(true);
        Ok((name, value))
    })
}

pub(super) fn check(telemetry: &Telemetry, faults: &mut ConfigFaults) {
    if !(0.0..=1.0).contains(&telemetry.sample_ratio) {
        faults.add("telemetry.sample_ratio", "must be between 0.0 (no trace) and 1.0 (all of them)");
    }
    let headers = telemetry.otlp_headers.as_ref().map_or("", |headers| headers.expose());
    for what in otlp_headers(headers).filter_map(Result::err) {
        faults.add("telemetry.otlp_headers", what);
    }
    let urls = [
        ("telemetry.otlp_endpoint", &telemetry.otlp_endpoint),
        ("telemetry.jaeger_url", &telemetry.jaeger_url),
    ];
    for (place, url) in urls.into_iter().filter_map(|(place, url)| Some((place, url.as_ref()?))) {
        if let Err(what) = http_url(url) {
            faults.add(place, what);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_standard_variable_has_them() {
        let read: Vec<_> = otlp_headers("Authorization=Basic%20YTpi, x-scope=a=b,").collect();
        let good: Vec<_> =
            read.iter().flatten().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(good, [("authorization", "Basic YTpi"), ("x-scope", "a=b")]);
        for bad in ["secret", "a b=secret", "a=secret%0A"] {
            let what = otlp_headers(bad).next().unwrap().unwrap_err();
            assert!(!what.contains("secret"), "{what}");
        }
    }
}
