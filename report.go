package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode"

	"github.com/NETWAYS/go-check"
)

// report returns the worst state of the items and the whole output: the first
// line with the performance data, then the notes, a line each, as in the
// Monitoring Plugins guidelines
// (https://www.monitoring-plugins.org/doc/guidelines.html#PLUGOUTPUT).
func report(items []Item, notes []string, config Config) (check.Status, string) {
	state := check.OK
	for _, item := range items {
		state = check.WorstState(state, item.State)
	}
	if config.AlwaysOK {
		state = check.OK
	}
	// Behind the groups are the ephemeral ports and the total.
	last := len(items)
	for last > 0 && items[last-1].Group.isTotal() {
		last--
	}
	groups, others := items[:last], items[last:]
	most := min(len(groups), maxOutput/minItem)
	if !config.By.isPlain() {
		slices.SortStableFunc(groups, func(a, b Item) int { return cmp.Compare(b.State, a.State) })
		if config.Top > 0 {
			most = min(most, config.Top)
		}
		most += namedFirst(groups[most:], config.Expected)
	}
	// The largest number of groups that fits.
	fits := func(most int) int {
		return sort.Search(most, func(n int) bool { return len(render(state, groups, n+1, others, notes, config)) > maxOutput })
	}
	n := fits(most)
	if n < most {
		namedFirst(groups, config.Expected)
		n = fits(most)
	}
	return state, render(state, groups, n, others, notes, config)
}

// namedFirst moves the groups that a threshold names to the front: these are of
// interest however small they are. It returns how many there are.
func namedFirst(groups []Item, named []Group) int {
	if len(named) == 0 {
		return 0
	}
	var first, others []Item
	for _, item := range groups {
		if slices.ContainsFunc(named, item.Group.is) {
			first = append(first, item)
		} else {
			others = append(others, item)
		}
	}
	copy(groups, slices.Concat(first, others))
	return len(first)
}

// maxOutput is the most that NRPE 4 delivers whole, in bytes (measured), and
// minItem less than any item takes of it.
const (
	maxOutput = 65504
	minItem   = 4
)

// render returns the whole output with the first n groups and the sum of the
// rest.
func render(state check.Status, groups []Item, n int, others []Item, notes []string, config Config) string {
	var texts []string
	var perfdata check.PerfdataList
	add := func(item Item) {
		text := cmp.Or(item.Text, fmt.Sprintf("%s: %d", item.Group.Text, item.Group.Count))
		if item.State != check.OK {
			text += " [" + item.State.String() + "]"
		}
		texts = append(texts, text)
		perfdata.Add(&check.Perfdata{
			Label: item.Label,
			Value: item.Value,
			Uom:   item.Unit,
			Warn:  perfdataRange(item.Warning),
			Crit:  perfdataRange(item.Critical),
			Min:   0,
			Max:   item.Max,
		})
	}
	for _, item := range groups[:n] {
		add(item)
	}
	if n < len(groups) {
		sockets := 0
		for _, item := range groups[n:] {
			sockets += item.Group.Count
		}
		rest := fmt.Sprintf("(+%d more: %d)", len(groups)-n, sockets)
		if n > 0 {
			texts[n-1] += " " + rest
		} else {
			texts = append(texts, rest)
		}
	}
	for _, item := range others {
		add(item)
	}
	text := strings.Join(texts, ", ")
	if len(texts) == 0 {
		text = config.Nothing
	}
	if config.AlwaysOK {
		text += " (always ok)"
	}
	if len(perfdata) > 0 && !config.NoPerfdata {
		text += check.PerfdataSeparatorSymbol + perfdata.String()
	}
	var output strings.Builder
	output.WriteString(firstLine(state, text))
	for _, note := range notes {
		output.WriteString(oneLine(note) + "\n")
	}
	return output.String()
}

// notes returns what is to be said about the reading besides the counts.
func notes(reading Reading, took string, config Config) []string {
	var lines []string
	if reading.Unseen > 0 && config.Recording == nil {
		lines = append(lines, reading.unseenText(config))
	}
	if !config.Verbose {
		if len(reading.Failures) > 0 && slices.Contains(reading.Sources, sourceGopsutil) {
			lines = append(lines, "not all was read from netlink: gopsutil leaves out sockets that look alike (--verbose says why)")
		}
		return lines
	}
	note := fmt.Sprintf("%d sockets counted, read from %s in %s", reading.Sockets, cmp.Or(strings.Join(reading.Sources, " and "), "nowhere"), took)
	var reasons []string
	for _, failure := range reading.Failures {
		reason := fmt.Sprintf("%s %s: %s", failure.source, failure.part, failure.err)
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) > 0 {
		note += " (" + strings.Join(reasons, "; ") + ")"
	}
	return append(lines, note)
}

// perfdataRange returns a range that go-check prints as it is meant: it drops a
// start of exactly 0, also where that is all of the range (0:, @0:). The
// smallest number above 0 is printed as 0.
func perfdataRange(threshold *check.Threshold) *check.Threshold {
	if threshold == nil || threshold.Lower != 0 || !math.IsInf(threshold.Upper, 1) {
		return threshold
	}
	return &check.Threshold{Inside: threshold.Inside, Lower: math.SmallestNonzeroFloat64, Upper: threshold.Upper}
}

// errorText returns the output for a check that could not be done.
func errorText(err error) string {
	return firstLine(check.Unknown, oneLine(err.Error()))
}

func firstLine(state check.Status, text string) string {
	return fmt.Sprintf("[%s] - %s\n", state, text)
}

// quote returns a value from the command line in quotes, fit for a message: as
// it was typed, but for what is harmful there.
func quote(value string) string { return `"` + cleaned(value, "|<>&\"\\`") + `"` }

// printable returns a name from outside as harmless text in one line: it cannot
// end the line, begin performance data, look like another item or like markup,
// steer a terminal or turn the direction of what follows.
func printable(text string) string { return cleaned(text, "|;=,'\"`<>&\\[]{}$") }

// maxRunes is how much of a text from outside is shown.
const maxRunes = 200

// cleaned returns the text with what is harmful, and what cannot be printed,
// replaced.
func cleaned(text, harmful string) string {
	var safe strings.Builder
	runes := 0
	for _, r := range text {
		if runes++; runes > maxRunes {
			safe.WriteString("...")
			break
		}
		switch {
		case strings.ContainsRune(harmful, r), r == unicode.ReplacementChar,
			unicode.IsSpace(r) && r != ' ', !unicode.IsPrint(r):
			safe.WriteByte('_')
		default:
			safe.WriteRune(r)
		}
	}
	return safe.String()
}

// oneLine returns a message as one line that begins no performance data. The
// values in it are already printable.
func oneLine(message string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '|', unicode.IsSpace(r), !unicode.IsPrint(r):
			return ' '
		}
		return r
	}, message)
}

// debugLog tells whoever reports a problem what was done, a line at a time. The
// zero value tells nothing.
type debugLog struct{ to io.Writer }

func (l debugLog) printf(format string, values ...any) {
	if l.to != nil {
		_, _ = fmt.Fprintln(l.to, "debug:", oneLine(fmt.Sprintf(format, values...)))
	}
}

// took returns how long ago that was, to a tenth of a millisecond.
func took(since time.Time) string {
	return fmt.Sprintf("%.1f ms", float64(time.Since(since).Microseconds())/1000)
}

// faultText returns an error for the debug log.
func faultText(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()
}
