package main

import (
	"cmp"
	"runtime/debug"
)

// releaseVersion is set by GoReleaser through -ldflags -X.
var releaseVersion string

// version returns the version of the release, else what the go command recorded
// in the build. `go version -m` has the details.
func version() string {
	recorded := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		recorded = info.Main.Version
	}
	return cmp.Or(releaseVersion, recorded, "(devel)")
}
