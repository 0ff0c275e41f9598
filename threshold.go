package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/NETWAYS/go-check"
)

// totalGroup is what thresholds call the sum over all selected groups.
const totalGroup = "total"

// thresholds are the ranges of one level, by the folded label of the group that
// they are for: "" for all groups, or a type or a status with a plain grouping.
type thresholds map[string]check.Threshold

// groupName is a group that a threshold names, or that --zero asks for.
type groupName struct {
	key  string // the values that it leaves open are empty; totalGroup and limits come as they are
	mark string // of one of several groups with the same label, "" for all of them
	text string // as it was typed, fit for printing
}

// parseThresholds reads a list of [GROUP=]RANGE. Each name in it is passed to
// check, which may change its key.
func parseThresholds(lists []string, by grouping, check func(groupName) (groupName, error)) (thresholds, error) {
	level := thresholds{}
	// Monitoring systems give an empty one for a variable that is not set.
	lists = slices.DeleteFunc(slices.Clone(lists), func(list string) bool {
		return slices.Contains([]string{"", "=", "none"}, strings.ToLower(strings.TrimSpace(list)))
	})
	for _, item := range splitLists(lists) {
		name, text, isNamed := cutLast(item, "=")
		if !isNamed {
			name, text = "", item
		}
		name, text = strings.TrimSpace(name), strings.TrimSpace(text)
		if bare := strings.TrimRight(name, "<>"); bare != name {
			return nil, fmt.Errorf("%s is no threshold: a range for a group is GROUP=RANGE, as in %s=%s", quote(item), asTyped(strings.ToLower(bare)), asTyped(text))
		}
		if isLimit(limitNamed(name)) {
			text = strings.ReplaceAll(text, "%", "")
		}
		switch {
		case item == "":
			return nil, errors.New("a comma has no range beside it: write 10,close_wait=5")
		case isNamed && name == "":
			return nil, errors.New("the name of a group is empty")
		case isNamed && text == "":
			return nil, fmt.Errorf("the group %s has no range: write %s=10", quote(name), asTyped(strings.ToLower(name)))
		case by.isPlain() && strings.Contains(name, "="):
			return nil, fmt.Errorf("%s is no threshold: separate several by commas, as in tcp=10,udp=20", quote(item))
		}
		if !isNamed && len(level) > 0 && len(text) > 1 && strings.Trim(text, "0") == "" {
			return nil, fmt.Errorf("%s is what a comma has cut off: write numbers without one, as in 20000", quote(text))
		}
		threshold, err := parseRange(text)
		var target groupName
		switch {
		case err != nil && !isNamed:
			err = by.explain(err, text)
		case err == nil && isNamed:
			if target, err = by.parseGroup(name); err == nil {
				target, err = check(target)
			}
		}
		if err != nil {
			return nil, err
		}
		key := by.foldedName(target)
		switch _, isThere := level[key]; {
		case isThere && !isNamed:
			return nil, fmt.Errorf("more than one range without a group, the last one is %s: give one, and the others as GROUP=RANGE (-w is for WARNING, -c for CRITICAL)", quote(text))
		case isThere:
			return nil, fmt.Errorf("the group %s is given twice", quote(name))
		}
		level[key] = threshold
	}
	return level, nil
}

// explain says how to write a range for a group where a name stands in its
// place: close_wait:10, close_wait>10 or close_wait.
func (g grouping) explain(err error, text string) error {
	name, rest := text, ""
	if i := strings.IndexAny(text, ":<>"); i >= 0 {
		name, rest = text[:i], strings.TrimLeft(text[i:], ":<>=")
	}
	if _, fault := g.parseGroup(name); fault == nil && g.isPlain() {
		return fmt.Errorf("%w; a range for a group is GROUP=RANGE, as in %s=%s", err, strings.ToLower(name), cmp.Or(printable(rest), "10"))
	}
	return err
}

// cutLast cuts at the last separator: a range has none, a name may.
func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// parseGroup reads a name in a threshold. With a plain grouping a part of a name
// will do; other groups are named in full.
func (g grouping) parseGroup(name string) (groupName, error) {
	found := groupName{text: quote(printable(name))}
	if fixed := limitNamed(name); fixed == totalGroup || isLimit(fixed) {
		found.key = fixed
		return found, nil
	}
	typed := name
	if g.isPlain() {
		typed = strings.ReplaceAll(name, "-", "_")
	} else if g.freeNames() > 0 {
		typed, found.mark = cutMark(name)
	}
	part, isPart := g.parsePart(typed)
	if isPart && g.isPlain() {
		found.key = part
		return found, nil
	}
	key, ok := g.parse(typed)
	switch {
	case !ok && g.isPlain():
		if near := nearest(typed, slices.Concat(statuses, socketTypes, limitNames())); near != "" {
			return groupName{}, fmt.Errorf("unknown group %s: did you mean %s?", quote(name), strings.ToLower(near))
		}
		return groupName{}, fmt.Errorf("unknown group %s: use %s, %s, or a limit (%s)", quote(name), g.partsText(), totalGroup, strings.Join(limitNames(), ", "))
	case len(g) == 1 && !ok && g[0].item != nil && !g[0].isFree:
		if _, err := g[0].item(name); err != nil {
			return groupName{}, err
		}
		fallthrough
	case !ok || isPart && g.freeNames() > 0:
		return groupName{}, fmt.Errorf("%s is no group of --by %s: name one in full, as %s%s", quote(name), g.names(","), strings.ToUpper(g.names("_")), g.advice(part))
	}
	found.key = key
	return found, nil
}

// advice says how a type or a status can be judged with another grouping.
func (g grouping) advice(part string) string {
	if part == "" || g.has(byType) || g.has(byStatus) {
		return ""
	}
	return ", or give the status or the type to --conn-status or --conn-type and leave out GROUP="
}

// parsePart reads a type or a status alone, and leaves the other values open.
func (g grouping) parsePart(name string) (key string, ok bool) {
	values := make([]string, len(g))
	for _, d := range []*dimension{byType, byStatus} {
		value, known := d.parse(name)
		if !known || g.isPlain() && !g.has(d) {
			continue
		}
		if index := slices.Index(g, d); index >= 0 {
			values[index] = value
			return strings.Join(values, keySeparator), true
		}
		return value, true
	}
	return "", false
}

// partsText says which names of groups there are.
func (g grouping) partsText() string {
	switch {
	case !g.has(byStatus):
		return "a type (tcp)"
	case !g.has(byType):
		return "a status (close_wait)"
	case g[0] == byStatus:
		return "a type (tcp), a status (close_wait), both (close_wait_tcp)"
	}
	return "a type (tcp), a status (close_wait), both (tcp_close_wait)"
}

// isWhole tells whether the key has a value for each dimension.
func (g grouping) isWhole(key string) bool {
	values := g.values(key)
	return len(values) == len(g) && !slices.Contains(values, "")
}

// foldedName returns the name by which a threshold is found.
func (g grouping) foldedName(name groupName) string {
	switch {
	case name.key == totalGroup || isLimit(name.key):
		return name.key
	case !g.isWhole(name.key):
		return folded(strings.ReplaceAll(name.key, keySeparator, ""))
	}
	return folded(g.label(name.key)) + name.mark
}

// first returns the range of the first name that has one, nil where none has.
func (t thresholds) first(names ...string) *check.Threshold {
	for _, name := range names {
		if threshold, found := t[name]; found {
			return &threshold
		}
	}
	return nil
}

// of returns the range that holds for the group: the most specific one.
func (t thresholds) of(by grouping, g *group) *check.Threshold {
	if _, isForAll := t[""]; len(t) == 0 || len(t) == 1 && isForAll {
		return t.first("")
	}
	return t.first(append(t.namesOf(by, g.key, g.mark()), "")...)
}

// namesOf returns the names by which thresholds can name the group, the most
// specific one first.
func (t thresholds) namesOf(by grouping, key, ending string) []string {
	label := folded(by.label(key))
	names := []string{label + ending, label}
	for _, other := range by.otherKeys(key) {
		names = append(names, folded(by.label(other)))
	}
	if by.isPlain() {
		for _, d := range []*dimension{byStatus, byType} {
			if value := by.value(key, d); value != "" {
				names = append(names, folded(d.shown(value)))
			}
		}
	}
	return names
}

// otherKeys returns the keys by which thresholds can name the group besides its own:
// with the short name of a process, and with each of several that hold its sockets.
func (g grouping) otherKeys(key string) (others []string) {
	process := g.value(key, byProcess)
	names := []string{shortName(thisSystem, process)}
	if each := strings.Split(process, "+"); !slices.Contains(each, "") { // as in c++
		names = append(names, each...)
	}
	for _, name := range names {
		if name != process {
			others = append(others, g.with(key, byProcess, func(string) string { return name }))
		}
	}
	return others
}
