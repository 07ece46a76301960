//! What a plan may cost in requests: a constant per environment, not one per object.

use std::fmt::Write;

use spectra_acceptance::{Sandbox, Terraform};

const SERVICES: usize = 10;
const VARIABLES: usize = 20;
const MOST: usize = 12;

#[test]
fn a_plan_of_200_variables_over_10_services_makes_at_most_12_requests() {
    let sandbox = Sandbox::start();
    let mut configuration =
        String::from("provider \"spectra\" {}\nresource \"spectra_project\" \"p\" {\n  name = \"wide\"\n}\n");
    for service in 0..SERVICES {
        let mut variables = String::new();
        for variable in 0..VARIABLES {
            writeln!(variables, "    NAME_{variable} = \"value {service} {variable}\"").unwrap();
        }
        writeln!(
            configuration,
            "resource \"spectra_service\" \"s{service}\" {{\n  project_id = spectra_project.p.id\n  environment_id = \
             spectra_project.p.default_environment_id\n  name = \"service-{service}\"\n}}\nresource \
             \"spectra_variables\" \"v{service}\" {{\n  project_id = spectra_project.p.id\n  environment_id = \
             spectra_project.p.default_environment_id\n  service_id = spectra_service.s{service}.id\n  variables = \
             {{\n{variables}  }}\n}}"
        )
        .unwrap();
    }
    let terraform = Terraform::new(&sandbox, &configuration);
    let _ = terraform.apply().success();

    let before = sandbox.now();
    terraform.assert_empty_plan();
    let requests = sandbox.requests(before);
    assert!(!requests.is_empty(), "a plan that reads nothing would see no drift");
    assert!(requests.len() <= MOST, "{} requests: {requests:#?}", requests.len());
}
