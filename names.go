package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	stdnet "net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// isPair tells whether there is an address at the index, and its port behind it.
func (g grouping) isPair(i int) bool {
	return i+1 < len(g) && (g[i] == byLocalAddress && g[i+1] == byLocalPort || g[i] == byRemoteAddress && g[i+1] == byRemotePort)
}

// text returns the name of the group with the key for a person.
func (g grouping) text(key string) string {
	var texts []string
	values := g.values(key)
	for i := 0; i < len(g); i++ {
		text := g[i].shown(values[i])
		if g[i] == byStatus {
			text = strings.ReplaceAll(text, "_", " ")
		}
		if g.isPair(i) {
			i++
			if isTold(values[i]) {
				text = stdnet.JoinHostPort(text, values[i])
			}
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

// label returns the name of the group with the key in performance data.
func (g grouping) label(key string) string {
	labels := g.values(key)
	for i, value := range labels {
		labels[i] = labelOf(g[i].shown(value))
	}
	return strings.Join(labels, "_")
}

// shown returns the value as it is printed. Recordings can have a status that
// nobody knows.
func (d *dimension) shown(value string) string {
	isOutside := d.isFree || d == byStatus && !slices.Contains(statuses, value)
	if isOutside && isTold(value) {
		return cleanName(value)
	}
	return value
}

// labelOf returns a value as a part of a label that every reader takes: without
// blanks, and an IPv6 address in full with dashes. Icinga 2 takes :: for the
// prefix of all labels that follow (check_multi's format), others cut at a colon.
func labelOf(value string) string {
	address, err := netip.ParseAddr(value)
	if err != nil || address.Is4() {
		return strings.ReplaceAll(value, " ", "_")
	}
	var words []string
	for bytes := address.AsSlice(); len(bytes) > 0; bytes = bytes[2:] {
		words = append(words, strconv.FormatUint(uint64(binary.BigEndian.Uint16(bytes)), 16))
	}
	return strings.Join(words, "-")
}

// mark returns what tells a group from others with the same label. It is the
// same in every run.
func mark(key string) string {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(key))
	return fmt.Sprintf("~%08x", hash.Sum32())
}

// cutMark cuts the mark off the end of a name, if there is one.
func cutMark(name string) (rest, found string) {
	start := len(name) - len("~00000000")
	if start < 0 || name[start] != '~' || strings.Trim(strings.ToLower(name[start+1:]), "0123456789abcdef") != "" {
		return name, ""
	}
	return name[:start], strings.ToLower(name[start:])
}

// folded returns the name of a group as names are compared: in any case, and
// with the underscores of a label in place of the spaces of a text.
func folded(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "_")) }

// parse reads the name of a group as it is shown, in performance data or in a
// text, and returns its key. Spellings do not matter.
func (g grouping) parse(name string) (key string, ok bool) {
	for _, hasLonePairs := range []bool{false, true} {
		if found := regexp.MustCompile(g.pattern(hasLonePairs)).FindStringSubmatch(name); found != nil {
			return g.parseParts(found[1:], hasLonePairs)
		}
	}
	return "", false
}

// pattern returns a regular expression with a part for each value. The text of a
// pair has no port where there is none to tell, which is a part of its own.
func (g grouping) pattern(hasLonePairs bool) string {
	var pattern strings.Builder
	for i := 0; i < len(g); i++ {
		if i > 0 {
			pattern.WriteString(`[_ ]`)
		}
		value := `(` + cmp.Or(g[i].pattern, statusPattern()) + `)`
		if g.isPair(i) {
			i++
			value += `[:_ ](` + g[i].pattern + `)`
			if hasLonePairs {
				value = `(?:` + value + `|([?-]))`
			}
		}
		pattern.WriteString(value)
	}
	return `(?is)^` + pattern.String() + `$`
}

// parseParts reads the values in the parts of a name.
func (g grouping) parseParts(parts []string, hasLonePairs bool) (key string, ok bool) {
	var values []string
	for ; len(values) < len(g); parts = parts[1:] {
		if hasLonePairs && g.isPair(len(values)) {
			if alone := parts[2]; alone != "" {
				parts[0], parts[1] = alone, alone
			}
			parts = slices.Delete(parts, 2, 3)
		}
		value, known := parts[0], !isTold(parts[0])
		if !known {
			value, known = g[len(values)].parse(parts[0])
		}
		if !known {
			return "", false
		}
		values = append(values, value)
	}
	return strings.Join(values, keySeparator), true
}

// statusPattern matches every spelling of every status, the longest first.
func statusPattern() string {
	spellings := slices.Clone(statuses)
	for spelling := range otherSpellings {
		spellings = append(spellings, spelling)
	}
	slices.SortFunc(spellings, func(a, b string) int { return len(b) - len(a) })
	return strings.ReplaceAll(strings.Join(spellings, "|"), "_", "[_ -]")
}
