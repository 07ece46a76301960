provider "spectra" {}

list "spectra_freeze_window" "all" {
  provider = spectra
}
