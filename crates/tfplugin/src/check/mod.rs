//! Local twins of the checks that Terraform core makes on plans and results.
