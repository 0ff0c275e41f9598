package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
)

// maxRunes is how much of a text from outside is shown.
const maxRunes = 200

// quote returns a value from the command line in quotes, fit for a message: as
// it was typed, but for what is harmful there.
func quote(value string) string { return `"` + asTyped(value) + `"` }

// asTyped returns a value from the command line fit for a message. Brackets that
// could be markup are shown as ones that cannot.
func asTyped(value string) string {
	return cleaned(strings.NewReplacer("<", "‹", ">", "›").Replace(value), harmfulTyped(thisSystem))
}

// harmfulTyped returns what is harmful of what was typed: the ends of quotes, and
// what begins performance data or markup. Windows has backslashes in paths and in
// the names of users, and nothing there takes them for the start of anything.
func harmfulTyped(system string) string {
	if system == "windows" {
		return "|&\"`"
	}
	return "|&\"`\\"
}

// printable returns a text from outside as harmless text in one line: it cannot
// end the line, begin performance data, look like another item or like markup,
// steer a terminal or turn the direction of what follows.
func printable(text string) string { return cleaned(text, "|;=,'\"`<>&\\[]{}$") }

// cleaned returns the text with what is harmful, and what cannot be printed,
// replaced. A text that has nothing of that comes back as it is.
func cleaned(text, harmful string) string {
	isHarmful := func(r rune) bool {
		return strings.ContainsRune(harmful, r) || r == unicode.ReplacementChar || unicode.IsSpace(r) && r != ' ' || !unicode.IsPrint(r)
	}
	if len(text) <= maxRunes && !strings.ContainsFunc(text, isHarmful) {
		return text
	}
	var safe strings.Builder
	runes := 0
	for _, r := range text {
		if runes++; runes > maxRunes {
			safe.WriteString("...")
			break
		}
		if isHarmful(r) {
			r = '_'
		}
		safe.WriteRune(r)
	}
	return safe.String()
}

// oneLine returns a message as one line that begins no performance data. The
// values in it are already printable.
func oneLine(message string) string {
	return strings.Map(func(r rune) rune {
		if r == '|' || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, message)
}

// cause returns what went wrong with a file, without the path that the error of
// the os package repeats.
func cause(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// debugLog tells whoever reports a problem what was done, a line at a time. The
// zero value tells nothing.
type debugLog struct{ to io.Writer }

func (l debugLog) printf(format string, values ...any) {
	if l.to != nil {
		_, _ = fmt.Fprintln(l.to, "debug:", oneLine(fmt.Sprintf(format, values...)))
	}
}

// done tells what a step found, and whether it failed.
func (l debugLog) done(found int, err error, started time.Time, format string, values ...any) {
	if l.to == nil {
		return
	}
	result := fmt.Sprintf("%d found, error %v", found, cmp.Or(err, errors.New("none")))
	if errors.Is(err, errPass) {
		result = "left to another source"
	}
	l.printf("%s: %s, in %s", fmt.Sprintf(format, values...), result, took(started))
}

// took returns how long ago that was, to a tenth of a millisecond.
func took(since time.Time) string {
	return fmt.Sprintf("%.1f ms", float64(time.Since(since).Microseconds())/1000)
}

// socketsText returns a number of sockets in words.
func socketsText(number int) string {
	if number == 1 {
		return "1 socket"
	}
	return fmt.Sprintf("%d sockets", number)
}
