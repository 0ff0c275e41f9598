package main

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/NETWAYS/go-check"
)

func TestRangesAlertAsInTheCPlugins(t *testing.T) {
	for _, test := range []struct {
		text          string
		alerts, quiet []float64
	}{
		{"10", []float64{-1, 11, 10.001}, []float64{0, 10}},
		{"10:", []float64{9, 9.999, -5}, []float64{10, 1e12}},
		{":10", []float64{-1, 11}, []float64{0, 10}},
		{"~:10", []float64{11}, []float64{-1e12, 10}},
		{"10:20", []float64{9, 21}, []float64{10, 20}},
		{"@10:20", []float64{10, 20}, []float64{9, 21}},
		{"@10", []float64{0, 10}, []float64{-1, 11}},
		{"@10:", []float64{10, 1e12}, []float64{9}},
		{"@:10", []float64{0, 10}, []float64{-1, 11}},
		{"@~:10", []float64{-1e12, 10}, []float64{11}},
		{"-5:5", []float64{-6, 6}, []float64{-5, 5}},
		{"1.5", []float64{-0.001, 1.501}, []float64{0, 1.5}},
		{"0.5:1.5", []float64{0.499, 1.501}, []float64{0.5, 1.5}},
		{":", []float64{-1}, []float64{0, 1e12}},
		{"0:", []float64{-1}, []float64{0, 1e12}},
		{"@0:", []float64{0, 1e12}, []float64{-1}},
		{"~:", nil, []float64{-1e12, 1e12}},
		{"@~:", []float64{-1e12, 1e12}, nil},
		{"7:7", []float64{6, 8}, []float64{7}},
		{"0", []float64{-1, 1}, []float64{0}},
		{"1e3", []float64{-1, 1001}, []float64{0, 1000}},
		{"+5:.5e1", []float64{4, 6}, []float64{5}},
		{`\-1:5`, []float64{-2, 6}, []float64{-1, 5}}, // for parsers that take it for a flag
		{`\@10:20`, []float64{10, 20}, []float64{9, 21}},
		{" 10 : 20 ", []float64{9, 21}, []float64{10, 20}},
		{"@ ~ : 10", []float64{-1e12, 10}, []float64{11}},
	} {
		t.Run(test.text, func(t *testing.T) {
			threshold, err := parseRange(test.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range test.alerts {
				if !threshold.DoesViolate(value) {
					t.Errorf("%g must alert", value)
				}
			}
			for _, value := range test.quiet {
				if threshold.DoesViolate(value) {
					t.Errorf("%g must not alert", value)
				}
			}
		})
	}
}

func TestBadRangesAreRefused(t *testing.T) {
	for _, test := range []struct{ text, message string }{
		{"", `range "": it is empty, a range is [@][start:][end]`},
		{"ten", `range "ten": "ten" is not a number`},
		{"10x", `range "10x": "10x" is not a number`},
		{"10:x", `range "10:x": "x" is not a number`},
		{"x:10", `range "x:10": "x" is not a number`},
		{"1 0:20", `range "1 0:20": "1 0" is not a number`},
		{"/root:10", `range "/root:10": the shell has replaced the ~, put the range in quotes`},
		{`@\10`, `range "@_10": "_10" is not a number`},
		{"0x10", `range "0x10": "0x10" is not a number`},
		{"1_000", `range "1_000": "1_000" is not a number`},
		{"inf", `range "inf": "inf" is not a number`},
		{"nan:5", `range "nan:5": "nan" is not a number`},
		{"1e999", `range "1e999": "1e999" is not a number`},
		{"80%", `range "80%": "80%" is not a number: only limits are percentages`},
		{"10-20", `range "10-20": "10-20" is not a number: a range is 10:20`},
		{">50", `range "›50": "›50" is not a number: above 50 is 50, below 50 is 50:`},
		{"20:10", `range "20:10": the start 20 is above the end 10`},
		{"@0.5:-1", `range "@0.5:-1": the start 0.5 is above the end -1`},
		{"-1", `range "-1": without a start it begins at 0, and a range below that is "~:-1"`},
		{"@", `range "@": an @ needs a range behind it, as in @10:20`},
		{"~", `range "~": a ~ stands for the start only, as in ~:10`},
		{"@~", `range "@~": a ~ stands for the start only, as in ~:10`},
		{"10:~", `range "10:~": "~" is not a number`},
		{"@@10", `range "@@10": "@10" is not a number`},
		{"10:20:30", `range "10:20:30": ":30" is left over`},
		{"10::", `range "10::": ":" is left over`},
	} {
		t.Run(test.text, func(t *testing.T) {
			if _, err := parseRange(test.text); err == nil || err.Error() != test.message {
				t.Errorf("got %v, want %s", err, test.message)
			}
		})
	}
}

// probes are the values that a range is tried on, besides its ends.
var probes = []float64{-1, -0.5, 0, 0.5, 1, 5, 9, 10, 11, 20, 21, 65535, 1e6, 1e12}

// around returns the probes and the values at the ends of the range and next to them.
func around(r guidelineRange) []float64 {
	all := slices.Clone(probes)
	for _, end := range []float64{r.low, r.high} {
		if !math.IsInf(end, 0) {
			all = append(all, end, math.Nextafter(end, math.Inf(1)), math.Nextafter(end, math.Inf(-1)), end+1, end-1)
		}
	}
	return all
}

func FuzzRange(f *testing.F) {
	for _, text := range []string{
		"10", "10:", ":10", "~:10", "10:20", "@10:20", "@10", "@~:10", "-5:5", "1.5", ":", "0:", "@0:", "~:", "@~:", "7:7", "0", "1e3", "+5:.5e1", "-0",
		"", "@", "~", "@~", "20:10", "10:~", "@@10", "10:20:30", "10::", "0x10", "1_000", "inf", "nan:5", "1e999", "80%", "5.", ".", "1e", "\u0661", "10 ",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseRange(text)
		// A backslash in front and blanks around the numbers are taken besides.
		plain := strings.Split(strings.TrimPrefix(text, `\`), ":")
		for i, part := range plain {
			inside := ""
			if i == 0 && strings.HasPrefix(part, "@") {
				inside, part = part[:1], part[1:]
			}
			plain[i] = inside + strings.TrimSpace(part)
		}
		want, wantErr := parseGuidelineRange(strings.Join(plain, ":"))
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("got %v, the guidelines say %v", err, wantErr)
		}
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
			return
		}
		for _, value := range around(want) {
			if got.DoesViolate(value) != want.alerts(value) {
				t.Errorf("%g: got %t", value, got.DoesViolate(value))
			}
		}
		mustBePrinted(t, got, want)
	})
}

// mustBePrinted fails the test where the performance data has a range with
// another verdict on a count. go-check prints three decimals.
func mustBePrinted(t *testing.T, threshold check.Threshold, want guidelineRange) {
	t.Helper()
	for _, end := range []float64{want.low, want.high} {
		if !math.IsInf(end, 0) && math.Round(end*1000)/1000 != end {
			return
		}
	}
	printed := perfdataRange(&threshold).String()
	got, err := parseGuidelineRange(printed)
	if err != nil {
		t.Fatalf("printed as %q: %v", printed, err)
	}
	for _, value := range around(want) {
		if value >= 0 && value == math.Trunc(value) && got.alerts(value) != want.alerts(value) {
			t.Errorf("%g: printed as %q", value, printed)
		}
	}
}
