//! How registries are spoken to: without TLS, and for how long they may be silent.

use spectra_sandbox::registry::RegistryAuth;

use crate::{image::registry, image_copy::build, support::Place};

#[test]
fn a_registry_without_tls_is_named_by_every_command_that_talks_to_it() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let digest = build(&place);
    // An address that leads to this machine and does not mean it.
    let host = format!("0.0.0.0:{}", running.front().port());
    let (image, other) = (format!("{host}/team/app:v1"), format!("{host}/other/app:v1"));
    let named = |arguments: &[&str]| place.run(&[arguments, &["--plain-http", &host]].concat()).done();
    let pushed = named(&["image", "push", "layout", &image, "--registry-timeout", "20s"]);
    assert_eq!(pushed.stdout.trim(), digest);
    assert!(pushed.stderr.contains("is spoken to without TLS"), "{}", pushed.stderr);
    assert_eq!(named(&["image", "copy", &image, &other, "--json"]).json()["digest"], digest.as_str());
    named(&["image", "inspect", &other]);
    let doctor = place.run(&["doctor", "--registry", &host, "--plain-http", &host]);
    assert!(doctor.stdout.contains(&format!("registry {host}: answers at http://")), "{}", doctor.stdout);
    named(&["image", "copy", &other, "oci:copied:v1", "--registry-timeout", "20s"]);
    for (flag, value) in
        [("--plain-http", "http://registry:5000"), ("--plain-http", "registry"), ("--registry-timeout", "0s")]
    {
        assert_eq!(place.run(&["image", "push", "layout", &image, flag, value]).code, 2, "{flag} {value}");
    }
    let mut place = place;
    place.set("SPECTRA_PLAIN_HTTP", &format!("registry:5000,{host}"));
    place.run(&["image", "inspect", &other]).done();
}

/// Of the commands that read, none could be told how long to wait, and one that met a silent registry took minutes to say so.
#[test]
fn every_command_that_asks_a_registry_can_be_told_how_long_to_wait() {
    let place = Place::new();
    place.run(&["image", "keygen", "--output", "ci", "--no-password"]).done();
    place.write("predicate.json", "{}");
    // It takes connections, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/team/app:v1", silent.local_addr().unwrap());
    let verbs: [&[&str]; 6] = [
        &["inspect"],
        &["verify", "--key", "ci.pub"],
        &["sign", "--key", "ci.key"],
        &["attest", "--key", "ci.key", "--type", "custom", "--predicate", "predicate.json"],
        &["sbom"],
        &["copy"],
    ];
    std::thread::scope(|scope| {
        for verb in verbs {
            let (place, image) = (&place, &image);
            scope.spawn(move || {
                let end: &[&str] = if verb == ["copy"] { &["oci:out"] } else { &[] };
                let common = ["--registry-timeout", "1s"];
                let run = place.run(&[&["image"], verb, &[image.as_str()], end, &common].concat());
                assert_eq!(run.code, 1, "{verb:?}: {}", run.stderr);
                let why = "nothing was sent or received for 1 s";
                assert!(
                    run.stderr.contains("error[SPX-309]") && run.stderr.contains(why),
                    "{verb:?}: {}",
                    run.stderr
                );
            });
        }
    });
}
