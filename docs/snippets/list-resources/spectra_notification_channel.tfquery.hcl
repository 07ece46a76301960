provider "spectra" {}

list "spectra_notification_channel" "all" {
  provider = spectra
}
