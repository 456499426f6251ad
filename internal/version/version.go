// Package version contains the release of a program.
package version

import "runtime"

// release is set by the linker for released programs; see scripts/packages.
var release = "development"

// String returns the release, such as "1.2.3", or "development".
func String() string { return release }

// Long returns the release with the Go version and platform of the build.
func Long() string {
	return release + " (" + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
