package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/NETWAYS/go-check"
)

// Names that thresholds use for what is no group of sockets.
const (
	totalGroup     = "total"     // the sum over all selected groups
	ephemeralGroup = "ephemeral" // the ephemeral ports in use, in percent
)

// ephemeralLabel names the ephemeral ports in performance data.
const ephemeralLabel = "ephemeral_ports"

// parseRange reads a range of the Monitoring Plugins guidelines, [@][start:][end]
// (https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT), as
// the C plugins read it, but refuses what they silently misread.
//
// go-check's own parser refuses ":10" and ":" and takes "20:10", "~" and "@".
func parseRange(text string) (check.Threshold, error) {
	refuse := func(fault string) (check.Threshold, error) {
		return check.Threshold{}, fmt.Errorf("range %s: %s", quote(text), fault)
	}
	rest, inside := strings.CutPrefix(text, check.RangeStartSymbol)
	if text == "" {
		return refuse("it is empty, a range is [@][start:][end]")
	}
	if rest == "" {
		return refuse("an @ needs a range behind it, as in @10:20")
	}
	if rest == check.NegativeInfinitySymbol {
		return refuse("a ~ stands for the start only, as in ~:10")
	}
	threshold := check.Threshold{Inside: inside, Upper: check.PosInf}
	start, end, hasStart := strings.Cut(rest, check.RangeSeparatorSymbol)
	if !hasStart {
		start, end = "", rest
	}
	if _, leftover, more := strings.Cut(end, check.RangeSeparatorSymbol); more {
		return refuse(quote(check.RangeSeparatorSymbol+leftover) + " is left over")
	}
	var err error
	if start == check.NegativeInfinitySymbol {
		threshold.Lower = check.NegInf
	} else if start != "" {
		if threshold.Lower, err = parseNumber(start); err != nil {
			return refuse(err.Error())
		}
	}
	if end != "" {
		if threshold.Upper, err = parseNumber(end); err != nil {
			return refuse(err.Error())
		}
	}
	if threshold.Lower > threshold.Upper {
		return refuse(fmt.Sprintf("the start %s is above the end %s",
			check.FormatFloat(threshold.Lower), check.FormatFloat(threshold.Upper)))
	}
	return threshold, nil
}

// parseNumber reads a decimal number. It takes less than strconv.ParseFloat,
// for which also "inf", "nan" and hexadecimal numbers are numbers.
func parseNumber(text string) (float64, error) {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(number, 0) || strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, fmt.Errorf("%s is not a number", quote(text))
	}
	return number, nil
}

// Thresholds are the ranges of one level by the lower-case name of the group
// that they are for: "" for all groups, a label, totalGroup or ephemeralGroup;
// with a plain grouping also a type or a status.
type Thresholds map[string]check.Threshold

// groupName is a name in a threshold.
type groupName struct {
	text       string   // as it was typed, fit for printing
	name       string   // lower case, canonical
	socketType string   // "" where the name says nothing of the type
	status     string   // "" where the name says nothing of the status
	values     []string // for each dimension, where the group is named in full
}

// parseThresholds reads a list of [GROUP=]RANGE and returns it with the names
// of the groups in it. isPossible tells whether there can be a group with the
// values, for names that can be read in several ways.
func parseThresholds(items []string, by Grouping, isPossible func(values []string) bool) (Thresholds, []groupName, error) {
	thresholds := Thresholds{}
	var groups []groupName
	for _, item := range items {
		var group groupName
		name, text, named := cutLast(item, "=")
		if !named {
			text = item
		}
		name, text = strings.TrimSpace(name), strings.TrimSpace(text)
		threshold, err := parseRange(text)
		if err == nil && named {
			group, err = by.parseName(name, isPossible)
		}
		if err != nil && !named {
			// close_wait:10 or close_wait
			start, _, _ := strings.Cut(text, check.RangeSeparatorSymbol)
			if _, fault := by.parseName(start, isPossible); fault == nil && by.isPlain() {
				err = fmt.Errorf("%w; a range for a group is GROUP=RANGE, as in %s=10", err, strings.ToLower(start))
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if _, twice := thresholds[group.name]; twice {
			if !named {
				return nil, nil, fmt.Errorf("more than one range without a group, the last one is %s: give one, and the others as GROUP=RANGE", quote(text))
			}
			return nil, nil, fmt.Errorf("the group %s is given twice", quote(name))
		}
		thresholds[group.name] = threshold
		if named {
			groups = append(groups, group)
		}
	}
	return thresholds, groups, nil
}

// cutLast cuts at the last separator: a range has none, a name may.
func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// parseName reads the name of a group. With a plain grouping it must be one
// that can exist, and a part of it will do; the names of other groups are not
// known before.
func (g Grouping) parseName(text string, isPossible func(values []string) bool) (groupName, error) {
	lower := strings.ToLower(text)
	switch {
	case lower == totalGroup || lower == ephemeralGroup:
		return groupName{text: lower, name: lower}, nil
	case !g.isPlain():
		if text == "" {
			return groupName{}, errors.New("the name of a group is empty")
		}
		_, isStatus := canonicalStatus(text)
		_, isType := knownType(text)
		var values []string // the first that is possible, else the first
		g.parse(text, func(next []string) bool {
			if possible := isPossible(next); possible || values == nil {
				values = next
				return !possible
			}
			return true
		})
		if values == nil || isType || isStatus {
			return groupName{}, fmt.Errorf("%s is no group of --by %s: name one in full, with a value for each", quote(text), strings.ReplaceAll(joinDimensions(g), ", ", ","))
		}
		group := g.named(values)
		return groupName{text: printable(text), name: folded(group.Label), socketType: group.Type, status: group.Status, values: values}, nil
	}
	socketType, status, found := g.parseParts(strings.ReplaceAll(lower, "-", "_"))
	if !found {
		return groupName{}, fmt.Errorf("unknown group %s: use %s, %s or %s", quote(text), g.partsText(), totalGroup, ephemeralGroup)
	}
	name := groupName{text: printable(text), name: strings.ToLower(socketType + status), socketType: socketType, status: status}
	if g.has(byType) == (socketType != "") && g.has(byStatus) == (status != "") {
		for _, dimension := range g {
			name.values = append(name.values, map[Dimension]string{byType: socketType, byStatus: status}[dimension])
		}
		name.name = folded(g.named(name.values).Label)
	}
	return name, nil
}

// parseParts reads a type, a status, or both in the order of the grouping.
func (g Grouping) parseParts(lower string) (socketType, status string, found bool) {
	for _, socketType := range socketTypes {
		if !g.has(byType) {
			break
		}
		if lower == socketType {
			return socketType, "", true
		}
		cut, affix := strings.CutPrefix, socketType+"_"
		if g[0] == byStatus {
			cut, affix = strings.CutSuffix, "_"+socketType
		}
		if rest, found := cut(lower, affix); found && g.has(byStatus) {
			if status, known := canonicalStatus(rest); known {
				return socketType, status, true
			}
		}
	}
	status, known := canonicalStatus(lower)
	return "", status, known && g.has(byStatus)
}

// partsText says which names of groups there are.
func (g Grouping) partsText() string {
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

// first returns the range of the first name that has one, nil where none has.
func (t Thresholds) first(names ...string) *check.Threshold {
	for _, name := range names {
		if threshold, found := t[folded(name)]; found {
			return &threshold
		}
	}
	return nil
}

// of returns the range that holds for the group: the most specific one.
func (t Thresholds) of(group Group, by Grouping) *check.Threshold {
	if len(t) == 0 {
		return nil
	}
	names := []string{group.Label}
	if by.isPlain() && group.Status != "" {
		names = append(names, group.Status)
	}
	if by.isPlain() && group.Type != "" {
		names = append(names, group.Type)
	}
	return t.first(append(names, "")...)
}

// Item is a judged value, one entry of the first line.
type Item struct {
	Text     string // the entry, without its state; "" for a group
	Label    string // names it in performance data
	Value    float64
	Unit     string           // in performance data
	Max      any              // in performance data, nil where there is none
	Warning  *check.Threshold // the range that applied, nil where none did
	Critical *check.Threshold
	State    check.Status
	Group    Group // what was counted, without a label for the total, empty for ephemeral ports
}

// judge compares what was counted with the thresholds: the groups, then the
// ephemeral ports and the total where a threshold names them. ports may be nil.
func judge(groups []Group, ports *EphemeralPorts, config Config) []Item {
	items := make([]Item, 0, len(groups)+2)
	total := 0
	for _, group := range groups {
		total += group.Count
		items = append(items, judgeValue(Item{
			Label: group.Label, Value: float64(group.Count), Group: group,
			Warning: config.Warning.of(group, config.By), Critical: config.Critical.of(group, config.By),
		}))
	}
	if ports != nil {
		items = append(items, judgeValue(Item{
			Text: ports.text(), Label: ephemeralLabel, Value: ports.percent(), Unit: "%", Max: 100,
			Warning: config.Warning.first(ephemeralGroup), Critical: config.Critical.first(ephemeralGroup),
		}))
	}
	if config.names(totalGroup) {
		items = append(items, judgeValue(Item{
			Text: fmt.Sprintf("%s: %d", totalGroup, total), Label: totalGroup, Value: float64(total),
			Group:   Group{Text: totalGroup, Count: total},
			Warning: config.Warning.first(totalGroup), Critical: config.Critical.first(totalGroup),
		}))
	}
	return items
}

// judgeValue returns the item with its state.
func judgeValue(item Item) Item {
	switch {
	case item.Critical != nil && item.Critical.DoesViolate(item.Value):
		item.State = check.Critical
	case item.Warning != nil && item.Warning.DoesViolate(item.Value):
		item.State = check.Warning
	}
	return item
}
