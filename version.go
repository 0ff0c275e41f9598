package main

import (
	"runtime/debug"
	"strings"
)

// Set by GoReleaser through -ldflags -X.
var (
	releaseVersion string
	releaseCommit  string
	releaseDate    string
)

// version returns the version with the commit and the date where they are
// known: those of the release, else what the go command recorded in the build.
func version() string {
	number, commit, date := releaseVersion, releaseCommit, releaseDate
	modified := ""
	if info, ok := debug.ReadBuildInfo(); ok && number == "" {
		number = info.Main.Version
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				commit = setting.Value
			case "vcs.time":
				date = setting.Value
			case "vcs.modified":
				if setting.Value == "true" {
					modified = "modified"
				}
			}
		}
	}
	if number == "" {
		number = "(devel)"
	}
	var details []string
	for _, detail := range []string{commit, date, modified} {
		if detail != "" {
			details = append(details, detail)
		}
	}
	if len(details) == 0 {
		return number
	}
	return number + " (" + strings.Join(details, ", ") + ")"
}
