package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/NETWAYS/go-check"
)

// verdict is a state at the least and at the most. They differ where sockets
// whose owner is hidden may or may not count.
type verdict struct{ least, most check.Status }

func (v verdict) isCertain() bool { return v.least == v.most }

// worse returns the verdict on two things together.
func (v verdict) worse(other verdict) verdict {
	return verdict{max(v.least, other.least), max(v.most, other.most)}
}

// group is the sockets with a key, as they are judged.
type group struct {
	row
	named *groupName // by a threshold, or by --zero; with the mark only where there is no socket
	verdict
}

// mark returns what tells the group from others with the same label: the one that
// was typed where there is no socket.
func (g *group) mark() string {
	if g.named != nil && g.named.mark != "" {
		return g.named.mark
	}
	return mark(g.key)
}

// figure is a judged value that is no group.
type figure struct {
	name              string // in the lines about its culprits
	users             *tally // of the sockets that make it what it is, nil where there are none
	sockets           int    // of users
	blame             string
	isNameOnly        bool   // the number of users says nothing
	isQuiet           bool   // it is in the text only where it is in violation
	text, label       string // without the state; the label is empty for what is not in use
	value             float64
	hidden            int    // so many more it may be
	unit              string // in performance data
	max               any    // in performance data, nil where there is none
	warning, critical *check.Threshold
	verdict
}

// levels are the thresholds, and what they are for.
type levels struct {
	by                grouping
	warning, critical thresholds
	named             []groupName // that are reported also without a socket
	parts             []string    // the keys of types and statuses that thresholds name
	isZero            bool        // every group is reported, always in the same order
	isJudgedEmpty     bool        // a range for all groups judges also that there is none
}

// names tells whether a threshold is for any of the names.
func (l levels) names(names ...string) bool {
	return l.warning.first(names...) != nil || l.critical.first(names...) != nil
}

// results are all that was judged.
type results struct {
	groups          []group
	limits          []figure
	absent          []figure // types and statuses of which there is no socket, where that is not OK
	empty           figure   // that there is nothing at all
	total           figure   // without a label where no threshold names it
	sockets, hidden int      // in all groups
	blamed, blame   string   // the key of the worst group, and who has most of it
}

// verdict returns the verdict on everything together.
func (r *results) verdict() (all verdict) {
	for _, g := range r.groups {
		all = all.worse(g.verdict)
	}
	for _, f := range slices.Concat(r.limits, r.absent, []figure{r.empty, r.total}) {
		all = all.worse(f.verdict)
	}
	return all
}

// judge returns the verdicts on the groups, and on the limits with what was
// counted for each.
func (l levels) judge(found *counts, limits []limit, used counter) *results {
	r := &results{groups: l.judgeGroups(found)}
	r.sockets, r.hidden = found.sum()
	r.absent = l.judgeAbsent(r)
	if len(r.groups) == 0 && l.isJudgedEmpty {
		r.empty.verdict = judge(l.warning.first(""), l.critical.first(""), 0, 0)
	}
	for _, each := range limits {
		var users *counts
		if each.tally() != nil {
			users, used = used[0], used[1:]
		}
		r.limits = append(r.limits, l.judgeLimit(each, users))
	}
	if l.names(totalGroup) {
		r.total = l.judgeTotal(r.sockets, r.hidden)
	}
	return r
}

// limit is how far something has run out.
type limit interface {
	row() limitRow
	tally() *tally               // of what uses it up, nil where no socket does
	figure(found *counts) figure // the fullest one
}

// asksFor tells whether a threshold is for the limit: by itself, or with the others.
func (l levels) asksFor(kind limitRow) bool { return l.names(kind.groups()...) }

// judgeLimit returns the figure for a limit with its verdict.
func (l levels) judgeLimit(of limit, found *counts) figure {
	one, kind := of.figure(found), of.row()
	one.warning, one.critical = l.warning.first(kind.groups()...), l.critical.first(kind.groups()...)
	if one.label != "" {
		one.verdict = judge(one.warning, one.critical, one.value, one.value)
	}
	one.isQuiet = !l.names(kind.name)
	return one
}

// judgeGroups returns the groups with their verdicts, most sockets first.
func (l levels) judgeGroups(found *counts) []group {
	groups := make([]group, 0, len(found.rows)+len(l.named))
	for _, r := range found.rows {
		groups = append(groups, group{row: r})
	}
	groups = l.addNamed(groups)
	unseen := l.by.hiddenGroups(groups)
	var certain, possible map[string]int
	for i := range groups {
		g := &groups[i]
		warning, critical := l.ranges(g)
		low, high := g.known, g.known+g.hidden+unseen.behind(g.key)
		if g.named != nil { // its own number is asked for
			g.hidden = high - low
		}
		isOthers := g.named == nil && l.by.mask(g.key) != ""
		if isOthers || g.named == nil && low == 0 { // they are any number of groups, or none, of one socket or more
			low = min(1, high)
		}
		g.verdict = judge(warning, critical, low, high)
		if g.named == nil && (g.known == 0 || isOthers && unseen.others[g.key]) { // there may be no such group
			if certain == nil {
				certain, possible = l.present(groups)
			}
			none := l.judgeWithout(g, certain, possible)
			g.least, g.most = min(g.least, none.least), max(g.most, none.most)
		}
	}
	slices.SortFunc(groups, l.by.compare)
	return groups
}

// ranges returns the thresholds of a group, nil where there are none.
func (l levels) ranges(g *group) (warning, critical *check.Threshold) {
	return l.warning.of(l.by, g), l.critical.of(l.by, g)
}

// present counts the groups that are there for certain, and those that may be, by
// each part of a name that thresholds name; "" for all.
func (l levels) present(groups []group) (certain, possible map[string]int) {
	certain, possible = map[string]int{}, map[string]int{}
	parts := append([]string{""}, l.parts...)
	for _, g := range groups {
		for _, part := range parts {
			if part != "" && !l.by.isPart(part, g.key) {
				continue
			}
			if g.known > 0 || g.named != nil {
				certain[part]++
			}
			if g.known+g.hidden > 0 || g.named != nil {
				possible[part]++
			}
		}
	}
	return certain, possible
}

// judgeWithout returns the verdict where there is no such group: a range for a part
// of its name, or for all groups, may alert on that. It does so for certain where
// no other group can be there.
func (l levels) judgeWithout(g *group, certain, possible map[string]int) verdict {
	state := func(present map[string]int, itself bool) (worst check.Status) {
		isAlone := func(part string) bool { return present[part] == 0 || itself && present[part] == 1 }
		if l.isJudgedEmpty && isAlone("") {
			worst = judge(l.warning.first(""), l.critical.first(""), 0, 0).least
		}
		for _, part := range l.parts {
			if l.by.isPart(part, g.key) && isAlone(part) {
				worst = max(worst, l.judgePart(part).least)
			}
		}
		return worst
	}
	return verdict{state(possible, g.known+g.hidden > 0), state(certain, g.known > 0)}
}

// isPart tells whether the key has the values that a part of a name has.
func (g grouping) isPart(part, key string) bool {
	values := g.values(key)
	for i, value := range g.values(part) {
		if value != "" && value != values[i] {
			return false
		}
	}
	return true
}

// judgePart returns what is said where no socket has a type or a status that a
// threshold names.
func (l levels) judgePart(part string) figure {
	label := strings.ReplaceAll(part, keySeparator, "")
	one := figure{text: strings.ReplaceAll(label, "_", " ") + ": 0", label: label, warning: l.warning.first(folded(label)), critical: l.critical.first(folded(label))}
	one.verdict = judge(one.warning, one.critical, 0, 0)
	return one
}

// judgeAbsent returns the types and statuses that a threshold names, where no
// socket has them and that is not OK.
func (l levels) judgeAbsent(r *results) (all []figure) {
	for _, part := range l.parts {
		isPresent := slices.ContainsFunc(r.groups, func(g group) bool { return l.by.isPart(part, g.key) && (l.isZero || g.known+g.hidden > 0) })
		if one := l.judgePart(part); !isPresent && one.most != check.OK {
			all = append(all, one)
		}
	}
	return all
}

// addNamed marks the groups that are named, and adds those without a socket.
func (l levels) addNamed(groups []group) []group {
	if len(l.named) == 0 {
		return groups
	}
	indexes := map[string][]int{} // by every name that a threshold can use
	for i := range groups {
		for _, key := range append(l.by.otherKeys(groups[i].key), groups[i].key) {
			label := folded(l.by.label(key))
			indexes[label] = append(indexes[label], i)
			indexes[label+mark(groups[i].key)] = append(indexes[label+mark(groups[i].key)], i)
		}
	}
	for n, named := range l.named {
		name := folded(l.by.label(named.key)) + named.mark
		for _, i := range indexes[name] {
			groups[i].named = &groupName{} // its own key says it
		}
		if len(indexes[name]) == 0 {
			indexes[name] = []int{len(groups)}
			groups = append(groups, group{row: row{key: named.key}, named: &l.named[n]})
		}
	}
	return groups
}

// judgeTotal returns the sum of all groups.
func (l levels) judgeTotal(known, more int) figure {
	total := figure{
		text: totalGroup + ": " + countText(known, more), label: totalGroup, value: float64(known), hidden: more,
		warning: l.warning.first(totalGroup), critical: l.critical.first(totalGroup),
	}
	total.verdict = judge(total.warning, total.critical, known, known+more)
	return total
}

// countText returns a number of sockets, of which some may or may not count.
func countText(known, more int) string {
	if more > 0 {
		return fmt.Sprintf("%d to %d", known, known+more)
	}
	return fmt.Sprint(known)
}

// compare sorts the group with most sockets first, equal ones in the order of
// the types, then of the statuses and the other values.
func (g grouping) compare(a, b group) int {
	order := func(key string) int { return slices.Index(socketTypes, g.value(key, byType)) }
	return cmp.Or(cmp.Compare(b.known, a.known), cmp.Compare(order(a.key), order(b.key)),
		cmp.Compare(g.value(a.key, byStatus), g.value(b.key, byStatus)), cmp.Compare(a.key, b.key))
}

// judge returns the verdict on a number that is from low to high, both included.
func judge[N int | float64](warning, critical *check.Threshold, low, high N) verdict {
	state := func(number float64) check.Status {
		switch {
		case critical != nil && critical.DoesViolate(number):
			return check.Critical
		case warning != nil && warning.DoesViolate(number):
			return check.Warning
		}
		return check.OK
	}
	atLow, atHigh := state(float64(low)), state(float64(high))
	v := verdict{min(atLow, atHigh), max(atLow, atHigh)}
	if low == high {
		return v
	}
	// In between the state changes only next to an end of a range.
	for _, threshold := range []*check.Threshold{warning, critical} {
		if threshold == nil {
			continue
		}
		for _, end := range []float64{threshold.Lower, threshold.Upper} {
			for _, number := range []float64{math.Ceil(end), math.Floor(end) + 1} {
				if float64(low) < number && number < float64(high) {
					v.least, v.most = min(v.least, state(number)), max(v.most, state(number))
				}
			}
		}
	}
	return v
}
