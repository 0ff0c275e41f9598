package main

import (
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestDurationsAsPeopleWriteThem(t *testing.T) {
	for typed, want := range map[string]time.Duration{"30": 30 * time.Second, "30s": 30 * time.Second, "5m": 5 * time.Minute, "1d": 24 * time.Hour, "1h30m": 90 * time.Minute} {
		if got := configOf(t, "--timeout", typed).timeout; got != want {
			t.Errorf("--timeout %s: got %s", typed, got)
		}
		if thisSystem == "linux" {
			if got := configOf(t, "--min-idle", typed).question; got.minIdle != want || got.minIdleTyped != typed {
				t.Errorf("--min-idle %s: got %s", typed, got.minIdle)
			}
		}
	}
}

var (
	durationText = regexp.MustCompile(`^\+?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+$`)
	daysText     = regexp.MustCompile(`^\+?([0-9]+\.?[0-9]*|\.[0-9]+)d$`)
	secondsText  = regexp.MustCompile(`^\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$`)
	durationPart = regexp.MustCompile(`([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)`)
	durationUnit = map[string]int64{"ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
)

func FuzzDurations(f *testing.F) {
	for _, text := range []string{"90s", "5m", "1h30m", "1.5s", ".5s", "1ns", "+1s", "1µs", "1μs", "1193h2m47.295s", "1193h2m47.296s", "2562047h", "90", "300", ".5", "90.", "2d", "0.5d", "49d", "50d", "-1d", "d", "-5m", "", "0", "0s", "0.1ns", "2562048h", "9223372036854775808ns", "1d", "1 s", "s", "1e3s", "99999999999999999999h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if thisSystem != "linux" {
			t.Skip("idle times are only known on Linux")
		}
		config, err := parseArguments([]string{"--min-idle=" + text})
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
		}
		var idle time.Duration
		if err == nil {
			idle = config.question.minIdle
		}
		want := new(big.Rat)
		written := text
		if secondsText.MatchString(text) {
			written += "s"
		}
		if days := daysText.FindStringSubmatch(text); days != nil {
			number, _ := new(big.Rat).SetString("0" + days[1] + "0")
			if !strings.Contains(days[1], ".") {
				number, _ = new(big.Rat).SetString(days[1])
			}
			want.Mul(number, new(big.Rat).SetInt64(86400e9))
		} else if strings.HasSuffix(text, "d") {
			return // exponents and the like are taken, too
		}
		if durationText.MatchString(written) {
			for _, part := range durationPart.FindAllStringSubmatch(written, -1) {
				number, ok := new(big.Rat).SetString("0" + part[1] + "." + part[2] + "0")
				if !ok {
					t.Fatalf("the test cannot read %q", part)
				}
				want.Add(want, number.Mul(number, new(big.Rat).SetInt64(durationUnit[part[3]])))
			}
		}
		// A part of a nanosecond is cut off from each number.
		low := new(big.Rat).SetInt64(1)
		high := new(big.Rat).SetInt64((1<<32 - 1) * 1e6) // the kernel counts 32 bits of milliseconds
		switch got := new(big.Rat).SetInt64(int64(idle)); {
		case err == nil:
			difference, _ := new(big.Rat).Sub(want, got).Float64()
			if idle <= 0 || got.Cmp(high) > 0 || difference < -1 || difference > float64(strings.Count(text, ".")+1) {
				t.Errorf("got %s, want %s ns", idle, want.FloatString(3))
			}
		case want.Cmp(low) >= 0 && want.Cmp(high) <= 0 && !strings.Contains(text, "."):
			t.Errorf("got %v, want %s ns", err, want.FloatString(0))
		}
	})
}
