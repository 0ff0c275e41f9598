package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/NETWAYS/go-check"
)

// totalGroup is the name of the sum over all selected groups.
const totalGroup = "total"

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

// Thresholds are the ranges of one level by the group that they are for: "" for
// all groups, totalGroup, a type, a status, or a label.
type Thresholds map[string]check.Threshold

// parseThresholds reads a list of [GROUP=]RANGE.
func parseThresholds(items []string) (Thresholds, error) {
	thresholds := Thresholds{}
	for _, item := range items {
		name, text, named := cutLast(item, "=")
		if !named {
			text = item
		}
		threshold, err := parseRange(text)
		if err != nil {
			return nil, err
		}
		group := ""
		if named {
			if group, err = parseGroup(name); err != nil {
				return nil, err
			}
		}
		if _, twice := thresholds[group]; twice {
			if group == "" {
				return nil, fmt.Errorf("more than one range without a group, the last one is %s: give one, and the others as GROUP=RANGE", quote(text))
			}
			return nil, fmt.Errorf("the group %s is given twice", quote(name))
		}
		thresholds[group] = threshold
	}
	return thresholds, nil
}

// cutLast cuts at the last separator: a range has none, a name may.
func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// parseGroup returns the canonical name of the group: totalGroup, a type, a
// status, or a label of both.
func parseGroup(name string) (string, error) {
	lower := strings.ReplaceAll(strings.ToLower(name), "-", "_")
	if lower == totalGroup {
		return totalGroup, nil
	}
	for _, socketType := range socketTypes {
		if lower == socketType {
			return socketType, nil
		}
		if status, found := strings.CutPrefix(lower, socketType+"_"); found {
			if canonical, known := canonicalStatus(status); known {
				return Group{Type: socketType, Status: canonical}.label(), nil
			}
		}
	}
	if status, known := canonicalStatus(name); known {
		return status, nil
	}
	return "", fmt.Errorf("unknown group %s: use a type (tcp), a status (close_wait), both (tcp_close_wait) or %s",
		quote(name), totalGroup)
}

// named returns the group that a canonical name stands for in full, if it does.
func named(name string) (Group, bool) {
	socketType, status, full := strings.Cut(name, "_")
	if !full || strings.ToLower(socketType) != socketType {
		return Group{}, false // a status such as CLOSE_WAIT
	}
	return Group{Type: socketType, Status: status}, true
}

// first returns the range of the first name that has one, nil where none has.
func (t Thresholds) first(names ...string) *check.Threshold {
	for _, name := range names {
		if threshold, found := t[name]; found {
			return &threshold
		}
	}
	return nil
}

// of returns the range that holds for the group: the most specific one.
func (t Thresholds) of(group Group) *check.Threshold {
	return t.first(group.label(), group.Status, group.Type, "")
}

// Item is a judged count, one entry of the first line.
type Item struct {
	Text     string // names it for a person
	Label    string // names it in performance data
	Count    int
	Warning  *check.Threshold // the range that applied, nil where none did
	Critical *check.Threshold
	State    check.Status
}

// judge compares the groups, and their total where a threshold names it, with
// the thresholds.
func judge(groups []Group, config Config) []Item {
	var items []Item
	total := Item{
		Text: totalGroup, Label: totalGroup,
		Warning: config.Warning.first(totalGroup), Critical: config.Critical.first(totalGroup),
	}
	for _, group := range groups {
		total.Count += group.Count
		items = append(items, Item{
			Text: group.text(), Label: group.label(), Count: group.Count,
			Warning: config.Warning.of(group), Critical: config.Critical.of(group),
		})
	}
	if total.Warning != nil || total.Critical != nil {
		items = append(items, total)
	}
	for i, item := range items {
		switch {
		case item.Critical != nil && item.Critical.DoesViolate(float64(item.Count)):
			items[i].State = check.Critical
		case item.Warning != nil && item.Warning.DoesViolate(float64(item.Count)):
			items[i].State = check.Warning
		}
	}
	return items
}
