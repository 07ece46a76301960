//! Metrics, logs across services, traffic that the sandbox makes itself, and the limits on asking for them.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

const METRICS: &str = "query M($s: String, $e: String, $m: [MetricMeasurement!]!, $g: [MetricTag!], $from: DateTime!) {
    metrics(serviceId: $s, environmentId: $e, measurements: $m, groupBy: $g, startDate: $from, sampleRateSeconds: 1) {
        measurement tags { deploymentId deploymentInstanceId region serviceId volumeId } values { ts value } } }";
const HTTP: &str = "query H($e: String!, $s: String!) {
    httpMetricsGroupedByStatus(environmentId: $e, serviceId: $s, startDate: \"2020-01-01T00:00:00Z\", endDate: \"2100-01-01T00:00:00Z\") { statusCode samples { value } } }";
const LOGS: &str = "query L($e: String!, $f: String, $n: Int) {
    environmentLogs(environmentId: $e, filter: $f, beforeLimit: $n) { message severity tags { serviceId } } }";

async fn running(world: &World, labels: &[(&str, &str)], replicas: u32) -> (Place, String) {
    let digest = world.push("team/app", "v1", labels).await;
    let place = world.place().await;
    world.update(&place, json!({ "numReplicas": replicas })).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    (place, id)
}

async fn metrics(world: &World, place: &Place, measurements: Value, tags: Value) -> Vec<Value> {
    let variables =
        json!({ "s": place.service, "m": measurements, "g": tags, "from": "2020-01-01T00:00:00Z" });
    world.ask(METRICS, variables).await["metrics"].as_array().unwrap().clone()
}

fn largest(series: &Value) -> f64 {
    series["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sample| sample["value"].as_f64().unwrap())
        .fold(f64::MIN, f64::max)
}

fn close(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-9, "{found} instead of {wanted}");
}

/// Requests of a service by status.
async fn by_status(world: &World, place: &Place) -> Vec<(i64, f64)> {
    let data = world.ask(HTTP, json!({ "e": place.environment, "s": place.service })).await;
    let count = |row: &Value| {
        let samples = row["samples"].as_array().unwrap();
        samples.iter().map(|sample| sample["value"].as_f64().unwrap()).sum::<f64>()
    };
    let rows = data["httpMetricsGroupedByStatus"].as_array().unwrap();
    rows.iter().map(|row| (row["statusCode"].as_i64().unwrap(), count(row))).collect()
}

#[tokio::test]
async fn resource_metrics_are_told_by_replica_and_add_up_for_the_service() {
    let world = world().await;
    let labels = [("cpu", "0.5"), ("cpu-per-request", "0s"), ("memory", "256MB"), ("disk", "1GB")];
    let (place, id) = running(&world, &labels, 2).await;
    let domain = world.domain(&place).await;
    world.until("it serves", async || world.visit(&domain, "/").await.0 == 200).await;

    let all = json!([
        "CPU_USAGE",
        "CPU_USAGE_2",
        "CPU_LIMIT",
        "MEMORY_USAGE_GB",
        "MEMORY_LIMIT_GB",
        "NETWORK_RX_GB",
        "NETWORK_TX_GB",
        "EPHEMERAL_DISK_USAGE_GB",
        "DISK_USAGE_GB",
        "BACKUP_USAGE_GB"
    ]);
    let tags = json!(["DEPLOYMENT_ID", "DEPLOYMENT_INSTANCE_ID", "REGION"]);
    let series = metrics(&world, &place, all, tags).await;
    let row = world.deployment(&id).await;
    let instances: Vec<_> = row["instances"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
    assert_eq!(instances.len(), 2);
    let one = |measurement: &str, instance: &Value| {
        let found = series.iter().find(|row| {
            row["measurement"] == measurement && row["tags"]["deploymentInstanceId"] == *instance
        });
        found.unwrap_or_else(|| panic!("no {measurement} of {instance}: {series:?}"))
    };
    for instance in &instances {
        for (measurement, value) in [
            ("CPU_USAGE", 0.5),
            ("CPU_USAGE_2", 0.5),
            ("CPU_LIMIT", 32.0),
            ("MEMORY_USAGE_GB", 0.256),
            ("MEMORY_LIMIT_GB", 32.0),
            ("EPHEMERAL_DISK_USAGE_GB", 1.0),
        ] {
            let series = one(measurement, instance);
            close(largest(series), value);
            assert_eq!(series["tags"]["deploymentId"], json!(id));
            assert_eq!(series["tags"]["region"], "us-west2");
            assert!(series["tags"]["serviceId"].is_null(), "it was not grouped by: {series}");
        }
    }
    let sent: f64 = instances.iter().map(|instance| largest(one("NETWORK_TX_GB", instance))).sum();
    assert!(sent > 0.0, "the answer was sent");
    assert!(!series.iter().any(|row| row["measurement"] == "DISK_USAGE_GB"), "there is no volume");

    let whole = metrics(&world, &place, json!(["MEMORY_USAGE_GB"]), json!(["SERVICE_ID"])).await;
    assert_eq!((whole.len(), &whole[0]["tags"]["serviceId"]), (1, &json!(place.service)));
    // Both replicas run for the whole of the newest sample.
    world
        .until("a sample of both", async || {
            let whole = metrics(&world, &place, json!(["MEMORY_USAGE_GB"]), json!(["SERVICE_ID"])).await;
            (largest(&whole[0]) - 0.512).abs() < 1e-9
        })
        .await;

    let next = world.deploy(&place).await;
    world.wait_for(&next, "SUCCESS").await;
    world.wait_for(&id, "REMOVED").await;
    let both = metrics(&world, &place, json!(["CPU_USAGE"]), json!(["DEPLOYMENT_ID"])).await;
    let told: Vec<_> = both.iter().map(|row| row["tags"]["deploymentId"].as_str().unwrap()).collect();
    assert!(told.len() == 2 && told.contains(&id.as_str()) && told.contains(&next.as_str()), "{told:?}");
}

#[tokio::test]
async fn metrics_of_nothing_are_refused_and_volumes_have_their_own() {
    let world = world().await;
    let (place, _) = running(&world, &[], 1).await;
    let from = json!({ "m": ["CPU_USAGE"], "from": "2020-01-01T00:00:00Z" });
    assert!(world.refused(METRICS, from.clone()).await.contains("is required"));
    for (key, value, why) in [
        ("m", json!(["UNRECOGNIZED"]), "Invalid measurement: it measures nothing"),
        ("g", json!(["HOST_TYPE"]), "Invalid groupBy: the sandbox cannot group by this tag"),
        ("s", json!("00000000-0000-0000-0000-000000000000"), "Service not found"),
    ] {
        let mut variables = from.clone();
        variables["e"] = json!(place.environment);
        variables[key] = value;
        assert_eq!(world.refused(METRICS, variables).await, why);
    }
    let volume = world
        .ask(
            "mutation V($i: VolumeCreateInput!) { volumeCreate(input: $i) { id } }",
            json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "mountPath": "/data" } }),
        )
        .await["volumeCreate"]["id"]
        .take();
    let series = metrics(&world, &place, json!(["DISK_USAGE_GB"]), json!(["VOLUME_ID"])).await;
    assert_eq!((series.len(), &series[0]["tags"]["volumeId"]), (1, &volume));
    close(largest(&series[0]), 0.0);
}

#[tokio::test]
async fn a_lag_and_a_gap_take_samples_away_from_both_sorts_of_metrics() {
    let world = world().await;
    let (place, _) = running(&world, &[], 1).await;
    let domain = world.domain(&place).await;
    world.until("it serves", async || world.visit(&domain, "/").await.0 == 200).await;
    let seen = async || {
        let cpu = metrics(&world, &place, json!(["CPU_USAGE"]), json!(["SERVICE_ID"])).await;
        (cpu.len(), by_status(&world, &place).await.len())
    };
    assert_eq!(seen().await, (1, 1));
    // 100 000 h are 50 real hours here.
    world.settings(json!({ "metrics_lag": "100000h" })).await;
    assert_eq!(seen().await, (0, 0));
    let gap = json!({ "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z" });
    world.settings(json!({ "metrics_lag": "0s", "metrics_gap": gap })).await;
    assert_eq!(seen().await, (0, 0));
    world.settings(json!({ "metrics_gap": null, "metrics_gap_probability": 1.0 })).await;
    assert_eq!(seen().await, (0, 0));
    world.settings(json!({ "metrics_gap_probability": 0.0 })).await;
    assert_eq!(seen().await, (1, 1));
}

#[tokio::test]
async fn logs_of_an_environment_are_filtered_across_its_services() {
    let world = world().await;
    let (place, _) = running(&world, &[("error-rate", "1")], 1).await;
    let domain = world.domain(&place).await;
    let other = Place {
        service: world.service(&place.project, &place.environment, "api", None).await,
        ..place.clone()
    };
    let digest = world.push("team/api", "v1", &[]).await;
    world
        .until("the second service is visible", async || {
            let query = "query S($id: String!) { service(id: $id) { id } }";
            world.answer(query, json!({ "id": other.service })).await["errors"].is_null()
        })
        .await;
    let id = world.pin(&other, &world.pinned("team/api", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    world.until("it fails", async || world.visit(&domain, "/broken").await.0 == 500).await;

    let lines = async |filter: &str| {
        let data = world.ask(LOGS, json!({ "e": place.environment, "f": filter, "n": 100 })).await;
        data["environmentLogs"].as_array().unwrap().clone()
    };
    let listening = lines("\"listening on port\"").await;
    assert_eq!(listening.len(), 2, "{listening:?}");
    let mine = format!("@service:{} AND listening", other.service);
    assert_eq!(lines(&mine).await.len(), 1);
    let errors = lines("@level:error -listening").await;
    assert!(!errors.is_empty());
    assert!(errors.iter().all(|line| line["tags"]["serviceId"] == json!(place.service)));
    assert!(lines("@level:error AND listening").await.is_empty());
    let data = world.ask(LOGS, json!({ "e": place.environment, "n": 1 })).await;
    assert_eq!(data["environmentLogs"].as_array().unwrap().len(), 1);
    for wrong in ["@colour:red", "\"open", "@level:*"] {
        let refused = world.refused(LOGS, json!({ "e": place.environment, "f": wrong })).await;
        assert!(refused.starts_with("Invalid filter"), "{refused}");
    }
    let query = "query H($d: String!, $f: String) { httpLogs(deploymentId: $d, filter: $f) { path rxBytes txBytes clientUa } }";
    let broken = world.deployment(&id).await;
    let http = async |deployment: &Value, filter: &str| {
        let data = world.ask(query, json!({ "d": deployment, "f": filter })).await;
        data["httpLogs"].as_array().unwrap().clone()
    };
    assert!(http(&broken["id"], "").await.is_empty(), "the second service has no domain");
    let first = listening.iter().find(|line| line["tags"]["serviceId"] == json!(place.service)).unwrap();
    assert_eq!(first["severity"], "info");
    let deployments = world
        .ask(
            "query D($i: DeploymentListInput!) { deployments(input: $i) { edges { node { id } } } }",
            json!({ "i": { "serviceId": place.service } }),
        )
        .await;
    let deployment = &deployments["deployments"]["edges"][0]["node"]["id"];
    let rows = http(deployment, "@httpStatus:500..599 AND @path:/broken").await;
    assert!(!rows.is_empty());
    assert!(
        rows[0]["rxBytes"].as_i64().unwrap() > 50 && rows[0]["txBytes"].as_i64().unwrap() > 50,
        "{rows:?}"
    );
    assert_eq!(rows[0]["clientUa"], "test");
    assert!(http(deployment, "@httpStatus:<500 @path:/broken").await.is_empty());
    assert!(http(deployment, "-@clientUa:test").await.is_empty());
}

#[tokio::test]
async fn a_traffic_profile_runs_on_the_manual_clock_and_through_the_proxy() {
    let world = world().await;
    let (place, id) = running(&world, &[], 1).await;
    world.domain(&place).await;
    world.settings(json!({ "manual_clock": true })).await;
    assert!(by_status(&world, &place).await.is_empty(), "off by default");
    let profile = json!({ "service": "web", "rps": 2, "error_rate": 0.25, "path": "/shop?x=1" });
    world.settings(json!({ "traffic": [profile] })).await;
    world.until("the first request", async || by_status(&world, &place).await == [(200, 1.0)]).await;
    world.admin("POST", "clock", json!({ "advance": "10s" })).await;
    let wanted = [(200, 16.0), (500, 5.0)];
    world.until("ten seconds of requests", async || by_status(&world, &place).await == wanted).await;

    let query = "query H($d: String!) { httpLogs(deploymentId: $d) { path clientUa httpStatus } }";
    let logs = world.ask(query, json!({ "d": id })).await;
    let logs = logs["httpLogs"].as_array().unwrap();
    assert_eq!(logs.len(), 21);
    assert!(logs.iter().all(|row| row["path"] == "/shop" && row["clientUa"] == "spectra-sandbox-traffic/1"));

    // Far more falls due at once than is made up for.
    world.admin("POST", "clock", json!({ "advance": "10h" })).await;
    let total = async || by_status(&world, &place).await.iter().map(|(_, count)| count).sum::<f64>();
    world.until("a burst", async || total().await >= 121.0).await;
    assert!(total().await <= 122.0);
    world.settings(json!({ "traffic": [] })).await;
    world.admin("POST", "clock", json!({ "advance": "10s" })).await;
    // Another profile shows that requests would have come by now.
    world.settings(json!({ "traffic": [{ "service": place.service, "rps": 1, "path": "/other" }] })).await;
    let requests = async |filter: &str| {
        let query = "query H($d: String!, $f: String) { httpLogs(deploymentId: $d, filter: $f) { path } }";
        let logs = world.ask(query, json!({ "d": id, "f": filter })).await;
        logs["httpLogs"].as_array().unwrap().len()
    };
    world.until("the other profile", async || requests("@path:/other").await == 1).await;
    assert!((121..=122).contains(&requests("@path:/shop").await));
    for wrong in
        [json!([{ "service": "web", "rps": 0 }]), json!([{ "service": "web", "rps": 1, "path": "x" }])]
    {
        let request = world.client.put(format!("{}/settings", world.info.admin));
        let answer = request.json(&json!({ "traffic": wrong })).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400);
    }
}

#[tokio::test]
async fn the_traffic_label_of_an_image_lasts_as_long_as_its_deployment() {
    let world = world().await;
    let (place, id) = running(&world, &[("traffic", "0.01"), ("error-rate", "0")], 1).await;
    world.domain(&place).await;
    let count = async |id: &str| {
        let status = world.admin("GET", "status", Value::Null).await;
        let services = status["services"].as_array().unwrap();
        services.iter().find_map(|row| row["requests"][id].as_u64()).unwrap_or_default()
    };
    world.until("it has traffic", async || count(&id).await > 2).await;
    let digest = world.push("team/quiet", "v1", &[("body", "quiet")]).await;
    let quiet = world.pin(&place, &world.pinned("team/quiet", &digest)).await;
    world.wait_for(&quiet, "SUCCESS").await;
    world.wait_for(&id, "REMOVED").await;
    let before = count(&quiet).await;
    // A second service with the label shows that requests would have come by now.
    let other = Place {
        service: world.service(&place.project, &place.environment, "loud", None).await,
        ..place.clone()
    };
    world
        .until("the second service is visible", async || {
            let query = "query S($id: String!) { service(id: $id) { id } }";
            world.answer(query, json!({ "id": other.service })).await["errors"].is_null()
        })
        .await;
    world.domain(&other).await;
    let digest = world.push("team/app", "v1", &[("traffic", "0.01"), ("error-rate", "0")]).await;
    let loud = world.pin(&other, &world.pinned("team/app", &digest)).await;
    world.until("it has traffic", async || count(&loud).await > 2).await;
    assert_eq!(count(&quiet).await, before);
}

#[tokio::test]
async fn what_asks_for_too_much_is_not_processed() {
    let world = world().await;
    let (place, id) = running(&world, &[], 1).await;
    let fields = |count: usize, field: &str| {
        (0..count).map(|number| format!("a{number}: {field}")).collect::<Vec<_>>().join(" ")
    };
    let wide =
        format!("query Wide {{ {} }}", fields(24, &format!("httpLogs(deploymentId: \"{id}\") {{ path }}")));
    let many = format!("query Many {{ {} }}", fields(21, "me { id }"));
    for query in [&wide, &many] {
        let answer = world.answer(query, json!({})).await;
        assert_eq!(answer["errors"][0]["message"], "Problem processing request");
        assert!(answer["data"].is_null() && answer["errors"][0]["extensions"]["code"].is_null(), "{answer}");
        assert!(answer["errors"][0]["traceId"].is_string());
    }
    let journal = world.admin("GET", "journal", Value::Null).await;
    let last = journal["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["operation"], &last["outcome"]), (&json!("Many"), &json!("too_broad")));

    world.settings(json!({ "query_data_points": 0 })).await;
    let variables = json!({ "s": place.service, "m": ["CPU_USAGE"], "from": "2020-01-01T00:00:00Z" });
    let answer = world.answer(METRICS, variables.clone()).await;
    assert_eq!(answer["errors"][0]["message"], "Problem processing request");
    assert!(answer["data"].is_null(), "{answer}");

    world.settings(json!({ "query_breadth": null, "query_aliases": null, "query_data_points": null })).await;
    for query in [&wide, &many] {
        world.ask(query, json!({})).await;
    }
    world.ask(METRICS, variables).await;
}

#[tokio::test]
async fn a_project_token_sees_the_metrics_and_logs_of_its_environment_alone() {
    let world = world().await;
    let (place, id) = running(&world, &[], 1).await;
    world.admin("POST", "clock", json!({ "advance": "30s" })).await;
    let (project, environment) = world.project("other").await;
    let token = async |project: &str, environment: &str| {
        let input = json!({ "projectId": project, "environmentId": environment, "name": "ci" });
        let query = "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }";
        let data = world.ask(query, json!({ "i": input })).await;
        data["projectTokenCreate"].as_str().unwrap().to_owned()
    };
    let mine = token(&place.project, &place.environment).await;
    let theirs = token(&project, &environment).await;
    let ask = async |token: &str, query: &str, variables: Value| -> Value {
        let request = world.request(query, &variables).header("Project-Access-Token", token);
        request.send().await.unwrap().json().await.unwrap()
    };
    let nameless = json!({ "m": ["CPU_LIMIT"], "g": ["DEPLOYMENT_ID"], "from": "2020-01-01T00:00:00Z" });
    let answer = ask(&mine, METRICS, nameless.clone()).await;
    assert_eq!(answer["data"]["metrics"][0]["tags"]["deploymentId"], json!(id));
    let answer = ask(&theirs, METRICS, nameless).await;
    assert_eq!(answer["data"]["metrics"], json!([]));
    let named = json!({ "e": place.environment, "m": ["CPU_LIMIT"], "from": "2020-01-01T00:00:00Z" });
    for (query, variables) in [(METRICS, named.clone()), (LOGS, json!({ "e": place.environment }))] {
        assert!(ask(&mine, query, variables.clone()).await["errors"].is_null());
        let answer = ask(&theirs, query, variables).await;
        assert_eq!(answer["errors"][0]["message"], "Not Authorized", "{answer}");
    }
    world.settings(json!({ "restricted_environments": [place.environment] })).await;
    for (query, variables) in [(METRICS, named), (LOGS, json!({ "e": place.environment }))] {
        assert_eq!(world.refused(query, variables).await, "Not Authorized");
    }
    assert!(
        metrics(&world, &place, json!(["CPU_LIMIT"]), json!([])).await.is_empty(),
        "by its service neither"
    );
}
