package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/NETWAYS/go-check"
)

// The most that NRPE 4 delivers whole, in bytes (measured), and less than any
// group takes of it.
const (
	maxOutput = 65504
	minGroup  = 4
)

// report returns the state and the whole output: the first line with the
// performance data, then the details, a line each, as in the Monitoring Plugins
// guidelines (https://www.monitoring-plugins.org/doc/guidelines.html#PLUGOUTPUT).
func report(r *results, lines []string, config *options) (check.Status, string) {
	p := page{config: config, results: r, details: lines, state: r.verdict().least, isTwice: config.levels.by.twice(r.groups)}
	if config.alwaysOK {
		p.state = check.OK
	}
	most := min(len(r.groups), maxOutput/minGroup)
	if !config.levels.by.isPlain() {
		slices.SortStableFunc(r.groups, func(a, b group) int { return cmp.Compare(b.least, a.least) })
		if config.top > 0 {
			most = min(most, config.top)
		}
		most += namedFirst(r.groups[most:])
	}
	n := p.fits(most)
	if n < most {
		namedFirst(r.groups)
		n = p.fits(most)
	}
	return p.state, p.render(n)
}

// namedFirst moves the groups that a threshold names to the front: these are of
// interest however small they are. It returns how many there are.
func namedFirst(groups []group) (named int) {
	for i, g := range groups {
		if g.named != nil {
			copy(groups[named+1:], groups[named:i])
			groups[named] = g
			named++
		}
	}
	return named
}

// page is an output in the making.
type page struct {
	*results
	config  *options
	details []string
	state   check.Status
	isTwice map[string]bool // the labels that several groups have

	texts    []string
	perfdata check.PerfdataList
}

// twice returns the labels that several groups have. Only names that others
// choose can look alike.
func (g grouping) twice(groups []group) map[string]bool {
	if g.freeNames() == 0 {
		return nil
	}
	seen := map[string]bool{}
	for _, one := range groups {
		label := g.label(one.key)
		_, isThere := seen[label]
		_, ending := cutMark(label)
		seen[label] = isThere || ending != "" || len(g) > 1 && isReserved(label) // nobody may choose a mark, or the label of a limit
	}
	return seen
}

// fits returns the largest number of groups, up to most, with which the output
// can be delivered.
func (p page) fits(most int) int {
	return sort.Search(most, func(n int) bool { return len(p.render(n+1)) > maxOutput })
}

// render returns the whole output with the first n groups and the sum of the
// rest.
func (p page) render(n int) string {
	for _, g := range p.groups[:n] {
		p.addGroup(g)
	}
	if p.config.levels.isZero {
		p.fixOrder(p.groups[:n])
	}
	if rest := p.groups[n:]; len(rest) > 0 {
		known, more := 0, 0
		for _, g := range rest {
			known += g.known
			more += g.hidden
		}
		text := fmt.Sprintf("(+%d more: %s)", len(rest), countText(known, more))
		if n > 0 {
			p.texts[n-1] += " " + text
		} else {
			p.texts = append(p.texts, text)
		}
	}
	for _, i := range slices.Concat(p.absent, p.limits) {
		p.add(i)
	}
	if text := summary(p.limits); text != "" {
		p.texts = append(p.texts, text)
	}
	if p.total.label != "" {
		p.add(p.total)
	}
	if len(p.texts) == 0 || p.empty.least != check.OK {
		p.texts = slices.Insert(p.texts, 0, nothingText(&p.config.question)+p.empty.stateText())
	}
	text := strings.Join(p.texts, ", ")
	if p.config.alwaysOK {
		text += " (always ok)"
	}
	if len(p.perfdata) > 0 && !p.config.noPerfdata {
		text += check.PerfdataSeparatorSymbol + p.perfdata.String()
	}
	output := firstLine(p.state, text)
	for _, line := range p.details {
		output += oneLine(line) + "\n"
	}
	return output
}

func (p *page) addGroup(g group) {
	by := p.config.levels.by
	text, label := by.text(g.key), by.label(g.key)
	if p.isTwice[label] || g.named != nil && g.named.mark != "" {
		end := g.mark()
		text, label = text+end, label+end
	}
	most := ""
	if g.key == p.blamed {
		most = p.blame
	}
	warning, critical := p.config.levels.ranges(&g)
	p.add(figure{
		text: text + ": " + countText(g.known, g.hidden), label: label, value: float64(g.known), hidden: g.hidden,
		warning: warning, critical: critical, verdict: g.verdict, blame: most,
	})
}

// add adds a text, and performance data where the value is certain.
func (p *page) add(i figure) {
	i.text += i.stateText()
	if !i.isQuiet || i.least != check.OK {
		p.texts = append(p.texts, i.text)
	}
	if i.hidden > 0 || i.label == "" {
		return
	}
	p.perfdata.Add(&check.Perfdata{
		Label: i.label,
		Value: i.value,
		Uom:   i.unit,
		Warn:  perfdataRange(i.warning),
		Crit:  perfdataRange(i.critical),
		Min:   0,
		Max:   i.max,
	})
}

// summary returns the fullest of the limits that are named together, nothing where
// one of them is in violation.
func summary(limits []figure) string {
	fullest := figure{value: -1}
	for _, one := range limits {
		switch {
		case one.isQuiet && one.least != check.OK:
			return ""
		case one.isQuiet && one.label != "" && one.value > fullest.value:
			fullest = one
		}
	}
	if fullest.value < 0 {
		return ""
	}
	return fmt.Sprintf("%s: %s (%s)", allLimits, percentText(fullest.value), fullest.name)
}

// stateText returns what stands behind a value that is not OK.
func (i figure) stateText() string {
	if i.least == check.OK {
		return ""
	}
	return " [" + i.least.String() + "]" + i.blame
}

// fixOrder brings the performance data of the groups into the order of types and
// statuses: PNP4Nagios stores by position.
func (p *page) fixOrder(groups []group) {
	order := map[string]group{}
	for _, g := range groups {
		g.known = 0
		order[p.config.levels.by.label(g.key)] = g
	}
	slices.SortStableFunc(p.perfdata, func(a, b *check.Perfdata) int {
		return p.config.levels.by.compare(order[a.Label], order[b.Label])
	})
}

// nothingText says that no socket was found, and names all that was asked for,
// as it was typed.
func nothingText(q *question) string {
	list := func(names, excluded []string) string {
		names = slices.Clone(names)
		for _, name := range excluded {
			names = append(names, "not:"+name)
		}
		return strings.ToLower(cmp.Or(strings.Join(names, ","), "all"))
	}
	text := fmt.Sprintf("No connections of type %q in status %q", list(q.types, q.notTypes), list(q.statuses, q.notStatuses))
	var filters []string
	for _, f := range q.filters {
		filters = append(filters, "--"+f.name+" "+asTyped(f.typed))
	}
	if q.minIdle > 0 {
		filters = append(filters, "--min-idle "+asTyped(q.minIdleTyped))
	}
	if len(filters) > 0 {
		text += " with " + strings.Join(filters, " and ")
	}
	return text + " found."
}

// notes returns what is to be said about the reading besides the counts.
func notes(config *options, found reading, spots blindSpots, duration string) []string {
	var lines []string
	known, _ := found.counts[0].sum()
	for _, spot := range spots {
		if spot.dimension == byProcess && spot.sockets > 0 && config.recording == nil {
			lines = append(lines, spot.text())
		}
	}
	if zero := judge(config.levels.warning.first(""), config.levels.critical.first(""), 0, 0); zero.most != check.OK && known == 0 && !config.levels.isJudgedEmpty {
		lines = append(lines, "0 sockets are not judged: name the group (tcp_listen=1:) or use --zero")
	}
	if known == 0 && config.question.namesUnitInPart() {
		lines = append(lines, "--unit: services are named in full, as in nginx.service")
	}
	if config.source == sourceGopsutil && slices.Contains(found.sources, sourceGopsutil) {
		lines = append(lines, "gopsutil is for comparing: "+gopsutilLacks(thisSystem))
	}
	if !config.verbose {
		return lines
	}
	if slices.Contains(found.sources, sourceTotals) {
		found.sources = slices.DeleteFunc(found.sources, func(name string) bool { return name == sourceNetlink })
	}
	for _, name := range slices.Sorted(maps.Keys(config.levels.warning)) {
		w, c := config.levels.warning.first(name), config.levels.critical.first(name)
		if c != nil && !w.Inside && !c.Inside && c.Upper <= w.Upper && c.Lower >= w.Lower {
			if name != "" {
				name = " for " + name
			}
			lines = append(lines, "WARNING is never reached"+name+": the range of CRITICAL lies within that of WARNING")
		}
	}
	note := fmt.Sprintf("%s counted, read from %s in %s", socketsText(known), cmp.Or(strings.Join(found.sources, " and "), "nowhere"), duration)
	var reasons []string
	for _, f := range found.failures {
		reason := fmt.Sprintf("%s %s: %s", f.source, f.dump, f.err)
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
