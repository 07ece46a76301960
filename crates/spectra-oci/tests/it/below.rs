//! Layers on top of others: each is unpacked on its own, and must not take away what lies below.

use std::{os::unix::fs::symlink, path::Path};

use spectra_oci::{Error, Files, ImageBuilder, Layout, Owner};

use crate::build::{base, entries, layer, serve, write};

fn files(from: &Path, to: &str) -> Files {
    Files { from: from.to_owned(), to: to.to_owned(), ..Files::default() }
}

/// What is in each layer that was made on a base with these entries.
async fn built(
    base_entries: &[(&str, u32, u64)],
    layers: Vec<Vec<Files>>,
) -> Result<Vec<Vec<String>>, Error> {
    let (fake, digest) = serve(layer(base_entries), false).await;
    let place = tempfile::tempdir().unwrap();
    let cache = Layout::create(place.path().join("cache")).unwrap();
    let layout = Layout::create(place.path().join("out")).unwrap();
    let mut builder = ImageBuilder::new().base(base(&fake, &digest, &cache).await.unwrap());
    for files in layers {
        builder = builder.files(files);
    }
    let built = builder.build(&layout, None)?;
    Ok(built.layers[1..].iter().map(|layer| entries(&layout, &layer.digest)).collect())
}

#[tokio::test]
async fn a_file_below_a_link_of_the_base_goes_where_the_link_leads() {
    let distribution = [
        ("bin -> usr/bin", 0o777, 0),
        ("lib -> /usr/lib", 0o777, 0),
        ("usr/lib/", 0o755, 0),
        ("usr/lib/x86 -> ../../opt/x86", 0o777, 0),
        ("usr/bin/", 0o711, 3),
        ("usr/bin/sh", 0o755, 0),
        ("up -> ../../../var", 0o777, 0),
    ];
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &["serve", "tree/bin/b", "tree/lib/x86/c", "tree/up/d"]);
    let at = |from: &str, to: &str| files(&place.path().join(from), to);
    let layers =
        built(&distribution, vec![vec![at("serve", "/bin/serve")], vec![at("tree", "/")]]).await.unwrap();
    assert_eq!(layers[0], ["usr/ 755 0:0", "usr/bin/ 711 3:0", "usr/bin/serve 644 0:0"]);
    assert_eq!(
        layers[1],
        [
            "opt/ 755 0:0",
            "opt/x86/ 755 0:0",
            "opt/x86/c 644 0:0",
            "usr/ 755 0:0",
            "usr/bin/ 711 3:0",
            "usr/bin/b 644 0:0",
            "var/ 755 0:0",
            "var/d 644 0:0"
        ]
    );

    let refused = async |layers: Vec<Vec<Files>>| built(&distribution, layers).await.unwrap_err().to_string();
    insta::assert_snapshot!(refused(vec![vec![at("serve", "/bin")]]).await, @"cannot build an image: `/bin` is a link to the directory `/usr/bin` in what lies below; to put the file into it, end the path with `/`");
    insta::assert_snapshot!(refused(vec![vec![at("serve", "/bin/sh/serve")]]).await, @"cannot build an image: `/usr/bin/sh` is a file in what lies below, and a directory here");
    // One place by two ways.
    let both = vec![vec![at("serve", "/bin/x"), at("serve", "/usr/bin/x")]];
    insta::assert_snapshot!(refused(both).await, @"cannot build an image: two files of one layer become `/usr/bin/x`; put them into layers of their own, or leave one out");
}

#[tokio::test]
async fn a_later_layer_takes_nothing_away_from_an_earlier_one() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &["data/d", "x/x", "rel/v1/f", "y"]);
    symlink("v1", place.path().join("rel/current")).unwrap();
    let at = |from: &str, to: &str| files(&place.path().join(from), to);
    let owner = Owner { user: 1000, group: 1000 };
    let app = Files { owner, directory_mode: Some(0o700), ..at("data", "/var/lib/app") };
    let layers = built(
        &[("var/", 0o755, 0), ("srv/", 0o750, 7)],
        vec![
            vec![app],
            vec![at("x", "/var/lib/app/x")],
            vec![at("rel", "/srv")],
            vec![at("y", "/srv/current/y")],
            vec![at("data", "/var/lib/app"), at("x", "/srv/current")],
        ],
    )
    .await
    .unwrap();
    assert_eq!(
        layers[1],
        [
            "var/ 755 0:0",
            "var/lib/ 755 0:0",
            "var/lib/app/ 700 1000:1000",
            "var/lib/app/x/ 755 0:0",
            "var/lib/app/x/x 644 0:0"
        ]
    );
    assert_eq!(
        layers[3],
        ["srv/ 750 7:0", "srv/v1/ 755 0:0", "srv/v1/y 644 0:0"],
        "the link of the layer before stays a link"
    );
    assert_eq!(layers[4][5..], ["var/lib/app/ 700 1000:1000", "var/lib/app/d 644 0:0"]);
}

#[test]
fn what_makes_a_broken_layer_is_refused() {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), &["a", "rel/v1/f"]);
    symlink("v1", place.path().join("rel/current")).unwrap();
    let at = |from: &str, to: &str| files(&place.path().join(from), to);
    let out = place.path().join("out");
    let refused = |files: Vec<Files>| {
        let layout = Layout::create(&out).unwrap();
        let built = ImageBuilder::new().files(files).cmd(vec!["x".to_owned()]).build(&layout, None);
        built.unwrap_err().to_string()
    };
    insta::assert_snapshot!(refused(vec![at("a", "/a"), at("a", "/a/b")]), @"cannot build an image: `/a/b` lies below `/a`, which is a file in the same layer; leave one out");
    insta::assert_snapshot!(refused(vec![at("rel", "/srv"), at("a", "/srv/current/x")]), @"cannot build an image: `/srv/current/x` lies below `/srv/current`, which is a link in the same layer; leave one out");
    let layout = Layout::create(&out).unwrap();
    let with = |builder: ImageBuilder| {
        let built = builder.files(vec![at("a", "/a")]).cmd(vec!["x".to_owned()]).build(&layout, None);
        built.unwrap_err().to_string()
    };
    insta::assert_snapshot!(with(ImageBuilder::new().working_dir("app")), @"cannot build an image: the program would start in `app`; write an absolute path, such as `/app`");
    insta::assert_snapshot!(with(ImageBuilder::new().env("A B", "c")), @"cannot build an image: `A B` is no name of an environment variable");
    insta::assert_snapshot!(ImageBuilder::new().expose("+80").unwrap_err(), @"cannot build an image: `+80` is not a port; write a number from 1 to 65535, optionally with `/tcp` or `/udp`");
    insta::assert_snapshot!(refused(vec![at("a", "/.wh.etc")]), @r#"cannot build an image: `.wh.etc` in `/.wh.etc` begins with `.wh.`, which in a layer means "delete the file of that name""#);
}
