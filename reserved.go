package main

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// allLimits names every limit but for the one behind which nothing fails.
const allLimits = "limits"

// limitRow is something that runs out.
type limitRow struct {
	name  string // by which thresholds name it
	label string // in performance data
	title string // in texts
}

// groups returns the names by which thresholds name the limit.
func (l limitRow) groups() []string {
	if l == limitTimeWait {
		return []string{l.name}
	}
	return []string{l.name, allLimits}
}

// The limits of Linux at which connections begin to fail. Behind that of
// timewait the kernel closes sockets early, and nothing fails: it has to be named.
var (
	limitEphemeral = limitRow{"ephemeral", "ephemeral_ports", "ephemeral ports"}
	limitBacklog   = limitRow{"backlog", "backlog", "accept queue"}
	limitConntrack = limitRow{"conntrack", "conntrack", "connection tracking"}
	limitOrphans   = limitRow{"orphans", "orphans", "orphans"}
	limitMemory    = limitRow{"memory", "tcp_memory", "TCP memory"}
	limitTimeWait  = limitRow{"timewait", "time_wait_buckets", "TIME WAIT buckets"}
	limitFiles     = limitRow{"files", "open_files", "open files"}
)

// limitRows are in the order of performance data.
var limitRows = []limitRow{limitEphemeral, limitBacklog, limitConntrack, limitOrphans, limitMemory, limitTimeWait, limitFiles}

// isLimit tells whether thresholds name a limit by it, or all of them.
func isLimit(name string) bool { return slices.Contains(limitNames(), name) }

// limitNamed returns the name of the limit that is typed, or the folded name where
// it is none: the label of its performance data will do.
func limitNamed(typed string) string {
	name := folded(typed)
	for _, kind := range limitRows {
		if name == kind.label {
			return kind.name
		}
	}
	return name
}

// limitNames returns what thresholds can name.
func limitNames() (names []string) {
	for _, kind := range limitRows {
		names = append(names, kind.name)
	}
	return append(names, allLimits)
}

// reservedNames have a meaning of their own in texts, in labels or in thresholds.
var reservedNames = sync.OnceValue(func() map[string]bool {
	reserved := map[string]bool{"": true, hidden: true, nothing: true, totalGroup: true, allLimits: true}
	for _, kind := range limitRows {
		reserved[kind.name], reserved[kind.label] = true, true
	}
	for _, name := range slices.Concat(socketTypes, slices.Collect(maps.Keys(otherTypes)), slices.Collect(maps.Keys(allSpellings()))) {
		reserved[folded(name)], reserved[strings.ReplaceAll(folded(name), "_", "-")] = true, true
	}
	return reserved
})

// isReserved tells whether no other name may be like it.
func isReserved(name string) bool { return reservedNames()[folded(name)] }

// cleanName returns a name that others have chosen, fit for texts and labels.
// Some names have a meaning of their own there, and so has a colon: Icinga 2
// takes :: in a label for the prefix of all labels that follow.
func cleanName(name string) string {
	name = strings.TrimSpace(strings.ReplaceAll(printable(name), ":", "_"))
	if isReserved(name) {
		return "_" + name
	}
	return name
}

// givenName returns a name from outside as the value of a dimension: one that
// would look like a value for what cannot be told is changed.
func givenName(name string) string {
	switch name = strings.ReplaceAll(name, keySeparator, "\ufffd"); name {
	case "", hidden, nothing:
		return "_" + name
	}
	return name
}
