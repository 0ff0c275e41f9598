package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// allLimits names every limit but for the one behind which nothing fails.
const allLimits = "limits"

// limitRow is something that runs out.
type limitRow struct {
	name  string // by which thresholds name it
	label string // in performance data
	title string // in texts
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
func isLimit(name string) bool {
	return name == allLimits || slices.ContainsFunc(limitRows, func(kind limitRow) bool { return kind.name == name })
}

// limitNames returns what thresholds can name.
func limitNames() (names []string) {
	for _, kind := range limitRows {
		names = append(names, kind.name)
	}
	return append(names, allLimits)
}

// limit is how far something has run out.
type limit interface {
	row() limitRow
	tally() *tally               // of what uses it up, nil where no socket does
	figure(found *counts) figure // the fullest one
}

// quota is a limit that the kernel tells in a few small files.
type quota struct {
	limitRow
	used, size float64
	unit       string // behind the size
	where      string // " in web", where there are several
}

func (q quota) row() limitRow { return q.limitRow }

func (quota) tally() *tally { return nil }

func (q quota) figure(*counts) figure {
	if q.size == 0 {
		return figure{name: q.title, text: q.title + ": not in use"}
	}
	return q.percentage(q.used, q.size, q.sizeText()+q.where)
}

// sizeText returns a number, or an amount of memory in its largest unit.
func (q quota) sizeText() string {
	if q.unit == "" {
		return fmt.Sprintf("%.0f", q.size)
	}
	size, unit := q.size/(1<<20), "MiB"
	if size >= 1<<10 {
		size, unit = size/(1<<10), "GiB"
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}

// percentage returns the figure for a share, to a tenth of a percent.
func (l limitRow) percentage(used, size float64, subject string) figure {
	percent := math.Min(math.Round(1000*used/size)/10, 100)
	return figure{
		name: l.title, label: l.label, unit: "%", max: 100, value: percent,
		text: l.title + ": " + percentText(percent) + " of " + subject,
	}
}

// percentText has a decimal only where there is nothing in front of it.
func percentText(percent float64) string {
	if percent > 0 && percent < 1 {
		return fmt.Sprintf("%.1f%%", percent)
	}
	return fmt.Sprintf("%d%%", int(percent))
}

// names tells whether a threshold is for the limit: by itself, or with the others.
func (l levels) asksFor(kind limitRow) bool {
	return l.names(kind.name) || kind != limitTimeWait && l.names(allLimits)
}

// judgeLimit returns the figure for a limit with its verdict.
func (l levels) judgeLimit(of limit, found *counts) figure {
	one, kind := of.figure(found), of.row()
	groups := []string{kind.name, allLimits}
	if kind == limitTimeWait {
		groups = groups[:1]
	}
	one.warning, one.critical = l.warning.first(groups...), l.critical.first(groups...)
	if one.label != "" {
		one = one.judged()
	}
	one.isQuiet = !l.names(kind.name)
	return one
}

// summary returns the fullest of the limits that are named together, where none
// of them is in violation.
func summary(limits []figure) (text string, isNeeded bool) {
	fullest := figure{value: -1}
	for _, one := range limits {
		if !one.isQuiet {
			continue
		}
		if one.least != 0 {
			return "", false
		}
		if one.label != "" && one.value > fullest.value {
			fullest = one
		}
	}
	if fullest.value < 0 {
		return "", false
	}
	return fmt.Sprintf("%s: %s (%s)", allLimits, percentText(fullest.value), fullest.name), true
}

// isReserved tells whether a name has a meaning of its own in texts and labels.
func isReserved(name string) bool {
	name = strings.ToLower(name)
	isRow := func(kind limitRow) bool { return kind.name == name || kind.label == name }
	return slices.Contains([]string{"", hidden, nothing, totalGroup, allLimits}, name) || slices.ContainsFunc(limitRows, isRow)
}
