package main

import (
	"fmt"
	"math"
	"slices"
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
	var texts []string
	var perfdata check.PerfdataList
	for _, item := range items {
		state = check.WorstState(state, item.State)
		text := fmt.Sprintf("%s: %d", item.Text, item.Count)
		if item.State != check.OK {
			text += " [" + item.State.String() + "]"
		}
		texts = append(texts, text)
		perfdata.Add(&check.Perfdata{
			Label: item.Label,
			Value: item.Count,
			Warn:  perfdataRange(item.Warning),
			Crit:  perfdataRange(item.Critical),
			Min:   0,
		})
	}
	text := strings.Join(texts, ", ")
	if len(items) == 0 {
		text = config.Nothing
	}
	if config.AlwaysOK {
		state = check.OK
		text += " (always ok)"
	}
	if len(items) > 0 && !config.NoPerfdata {
		text += check.PerfdataSeparatorSymbol + perfdata.String()
	}
	var output strings.Builder
	output.WriteString(firstLine(state, text))
	for _, note := range notes {
		output.WriteString(oneLine(note) + "\n")
	}
	return state, output.String()
}

// notes returns what is to be said about the reading besides the counts.
func notes(reading Reading, took time.Duration, config Config) []string {
	if !config.Verbose {
		return nil
	}
	note := fmt.Sprintf("%d sockets counted, read from %s in %.1f ms",
		reading.Sockets, strings.Join(reading.Sources, " and "), float64(took.Microseconds())/1000)
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
	return []string{note}
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

// quote returns a value from outside in quotes, fit for a message.
func quote(value string) string { return `"` + printable(value) + `"` }

// maxRunes is how much of a text from outside is shown.
const maxRunes = 200

// printable returns a text from outside as harmless text in one line: it cannot
// end the line, begin performance data, look like markup, steer a terminal or
// turn the direction of what follows.
func printable(text string) string {
	var safe strings.Builder
	runes := 0
	for _, r := range text {
		if runes++; runes > maxRunes {
			safe.WriteString("...")
			break
		}
		switch {
		case strings.ContainsRune("|;=,'\"`<>&\\[]{}$", r), r == unicode.ReplacementChar,
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
