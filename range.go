package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/NETWAYS/go-check"
)

// parseRange reads a range of the Monitoring Plugins guidelines, [@][start:][end]
// (https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT), as
// the C plugins read it, but refuses what they silently misread.
//
// go-check's own parser refuses ":10" and ":" and takes "20:10", "~" and "@".
func parseRange(text string) (check.Threshold, error) {
	refuse := func(fault string) (check.Threshold, error) {
		return check.Threshold{}, fmt.Errorf("range %s: %s", quote(text), fault)
	}
	// A backslash stands in front of ranges that begin with a dash, for parsers
	// that would take those for flags.
	plain := strings.TrimSpace(strings.TrimPrefix(text, `\`))
	rest, inside := strings.CutPrefix(plain, check.RangeStartSymbol)
	rest = strings.TrimSpace(rest)
	if plain == "" {
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
	if strings.HasPrefix(text, "/") && hasStart {
		return refuse("the shell has replaced the ~, put the range in quotes")
	}
	if _, leftover, more := strings.Cut(end, check.RangeSeparatorSymbol); more {
		return refuse(quote(check.RangeSeparatorSymbol+leftover) + " is left over")
	}
	start, end = strings.TrimSpace(start), strings.TrimSpace(end)
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
	if !hasStart && threshold.Upper < 0 {
		return refuse("without a start it begins at 0, and a range below that is " + quote("~:"+end))
	}
	if threshold.Lower > threshold.Upper {
		return refuse(fmt.Sprintf("the start %s is above the end %s",
			check.FormatFloat(threshold.Lower), check.FormatFloat(threshold.Upper)))
	}
	return threshold, nil
}

func isDigits(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// parseNumber reads a decimal number. It takes less than strconv.ParseFloat,
// for which also "inf", "nan" and hexadecimal numbers are numbers.
func parseNumber(text string) (float64, error) {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(number, 0) || strings.Trim(text, "0123456789+-.eE") != "" {
		hint := ""
		switch first, last, _ := strings.Cut(text, "-"); {
		case strings.HasSuffix(text, "%"):
			hint = ": only limits are percentages"
		case isDigits(first) && isDigits(last):
			hint = ": a range is " + first + ":" + last
		case isDigits(strings.TrimLeft(text, "<>= ")):
			hint = ": above 50 is 50, below 50 is 50:"
		}
		return 0, fmt.Errorf("%s is not a number%s", quote(text), hint)
	}
	return number, nil
}
