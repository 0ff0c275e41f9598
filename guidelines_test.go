package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// metric is an entry of performance data, read by the grammar of the Monitoring
// Plugins guidelines (https://www.monitoring-plugins.org/doc/guidelines.html#AEN201):
//
//	'label'=value[UOM];[warn];[crit];[min];[max]
//
// Nothing in this file uses the program: it is what another reader of the
// output makes of it.
type metric struct {
	label             string
	value             float64
	unit              string
	warning, critical *guidelineRange // nil where there is none
	least, most       *float64        // nil where there is none
}

// parsePerfdata reads what stands behind the |.
func parsePerfdata(text string) ([]metric, error) {
	var metrics []metric
	rest := strings.TrimLeft(text, " ")
	for rest != "" {
		label, values, err := cutLabel(rest)
		if err != nil {
			return nil, err
		}
		values, rest, _ = strings.Cut(values, " ")
		m, err := parseMetric(label, values)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", label, err)
		}
		metrics = append(metrics, m)
		rest = strings.TrimLeft(rest, " ")
	}
	return metrics, nil
}

// cutLabel cuts "label=" or "'label'=" off. A label has neither a quote nor an
// equals sign in it, and one with a space has quotes around it.
func cutLabel(text string) (label, rest string, err error) {
	if quoted, found := strings.CutPrefix(text, "'"); found {
		if label, rest, found = strings.Cut(quoted, "'"); !found {
			return "", "", fmt.Errorf("the quote does not end: %.50q", text)
		}
		if rest, found = strings.CutPrefix(rest, "="); !found {
			return "", "", fmt.Errorf("no = behind the quote: %.50q", rest)
		}
	} else if label, rest, found = strings.Cut(text, "="); !found {
		return "", "", fmt.Errorf("no = behind the label: %.50q", text)
	} else if strings.ContainsAny(label, " '") {
		return "", "", fmt.Errorf("the label %.50q needs quotes, or has one", label)
	}
	if label == "" || strings.Contains(label, "=") {
		return "", "", fmt.Errorf("the label %.50q is empty or has an equals sign", label)
	}
	return label, rest, nil
}

var metricValue = regexp.MustCompile(`^(-?[0-9]+(?:\.[0-9]+)?)(s|us|ms|%|B|KB|MB|TB|c|)$`)

func parseMetric(label, text string) (metric, error) {
	m := metric{label: label}
	parts := strings.Split(text, ";")
	value := metricValue.FindStringSubmatch(parts[0])
	if value == nil || len(parts) > 5 {
		return metric{}, fmt.Errorf("not a value with ranges and limits: %q", text)
	}
	m.unit = value[2]
	var err error
	if m.value, err = strconv.ParseFloat(value[1], 64); err != nil {
		return metric{}, err
	}
	for i, field := range parts[1:] {
		if field == "" {
			continue
		}
		if i < 2 {
			level, err := parseGuidelineRange(field)
			if err != nil {
				return metric{}, err
			}
			*[]**guidelineRange{&m.warning, &m.critical}[i] = &level
			continue
		}
		end, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return metric{}, err
		}
		*[]**float64{&m.least, &m.most}[i-2] = &end
	}
	return m, nil
}

// guidelineRange is a range of the guidelines
// (https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT).
type guidelineRange struct {
	inside    bool
	low, high float64
}

var guidelineGrammar = func() *regexp.Regexp {
	number := `[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?`
	return regexp.MustCompile(`^(@?)(?:(~|` + number + `)?(:))?(` + number + `)?$`)
}()

// parseGuidelineRange reads [@][start:][end]: without a start it begins at 0,
// with ~ at negative infinity, and without an end it has none.
func parseGuidelineRange(text string) (guidelineRange, error) {
	parts := guidelineGrammar.FindStringSubmatch(text)
	if parts == nil || text == parts[1] {
		return guidelineRange{}, fmt.Errorf("%q is not a range", text)
	}
	r := guidelineRange{inside: parts[1] == "@", high: math.Inf(1)}
	for _, end := range []struct {
		text string
		into *float64
	}{{parts[2], &r.low}, {parts[4], &r.high}} {
		switch end.text {
		case "":
		case "~":
			*end.into = math.Inf(-1)
		default:
			number, err := strconv.ParseFloat(end.text, 64)
			if err != nil {
				return guidelineRange{}, err
			}
			*end.into = number
		}
	}
	if r.low > r.high {
		return guidelineRange{}, fmt.Errorf("%q ends before it starts", text)
	}
	return r, nil
}

// alerts tells whether the value makes an alert: outside of the range, ends
// excluded, or inside of it, ends included, where it begins with an @.
func (r guidelineRange) alerts(value float64) bool {
	isWithin := r.low <= value && value <= r.high
	return isWithin == r.inside
}

func TestGuidelinesAreReadAsWritten(t *testing.T) {
	metrics, err := parsePerfdata("tcp_LISTEN=5;10;~:20;0 'a b'=80.5%;@1:2;;0;100  c=-3")
	if err != nil {
		t.Fatal(err)
	}
	number := func(f float64) *float64 { return &f }
	want := []metric{
		{"tcp_LISTEN", 5, "", &guidelineRange{false, 0, 10}, &guidelineRange{false, math.Inf(-1), 20}, number(0), nil},
		{"a b", 80.5, "%", &guidelineRange{true, 1, 2}, nil, number(0), number(100)},
		{"c", -3, "", nil, nil, nil, nil},
	}
	if got := metricsText(metrics); got != metricsText(want) {
		t.Errorf("got  %s\nwant %s", got, metricsText(want))
	}
	for _, bad := range []string{
		"a", "=1", "a=", "a=x", "a b=1", "'a=1", "'a'b=1", "''=1", "'a=b'=1", "it's=1", "a=1;x", "a=1;20:10", "a=1;;;0;1;2", "a=1|b=2", "a=1KX",
	} {
		if metrics, err := parsePerfdata(bad); err == nil {
			t.Errorf("%s is read as %s", bad, metricsText(metrics))
		}
	}
}

func metricsText(metrics []metric) string {
	var texts []string
	for _, m := range metrics {
		text := fmt.Sprintf("%q %g%s", m.label, m.value, m.unit)
		for _, level := range []*guidelineRange{m.warning, m.critical} {
			if level == nil {
				text += " -"
			} else {
				text += fmt.Sprintf(" %+v", *level)
			}
		}
		for _, end := range []*float64{m.least, m.most} {
			if end == nil {
				text += " -"
			} else {
				text += fmt.Sprintf(" %g", *end)
			}
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}
