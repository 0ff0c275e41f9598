package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// splitLists returns the items of lists that are separated by commas.
func splitLists(lists []string) (items []string) {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	return items
}

// cutExclusion cuts off what excludes an item: not: or !, which NRPE and Nagios
// take for themselves.
func cutExclusion(item string) (text string, isExcluded bool) {
	if text, isExcluded = strings.CutPrefix(item, "not:"); isExcluded {
		return text, true
	}
	return strings.CutPrefix(item, "!")
}

// parseNames returns the canonical names of the items, each once, in the order
// given, and of those that are excluded; none for all.
func parseNames(lists []string, what string, choices []string, canonical func(string) (string, bool)) (chosen, excluded []string, err error) {
	if err := checkBlanks(lists); err != nil {
		return nil, nil, err
	}
	isAll := false
	for _, item := range splitLists(lists) {
		text, isExcluded := cutExclusion(item)
		name, known := canonical(text)
		switch {
		case strings.EqualFold(item, "all"):
			isAll = true
		case !known:
			if near := nearest(text, choices); near != "" {
				return nil, nil, fmt.Errorf("unknown %s %s: did you mean %s?", what, quote(item), strings.ToLower(near))
			}
			return nil, nil, fmt.Errorf("unknown %s %s: use all, %s", what, quote(item), strings.ToLower(strings.Join(choices, ", ")))
		case isExcluded:
			excluded = append(excluded, name)
		case !slices.Contains(chosen, name):
			chosen = append(chosen, name)
		}
	}
	if isAll {
		chosen = nil
	}
	return chosen, excluded, nil
}

// checkBlanks refuses a list that begins with a blank: it may be what NRPE and
// Nagios have left of an exclusion.
func checkBlanks(lists []string) error {
	for _, list := range lists {
		if strings.HasPrefix(list, " ") {
			return fmt.Errorf("there is a blank in front of %s: leave it out, and write not: to exclude something (NRPE and Nagios cut at a !)", quote(strings.TrimSpace(list)))
		}
	}
	return nil
}

// parseDuration reads a duration as Go writes it, days, or a plain number of
// seconds, in which Icinga 2 gives what was written as 5m.
func parseDuration(text string) (time.Duration, error) {
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		number, err := strconv.ParseFloat(days, 64)
		return time.Duration(number * 24 * float64(time.Hour)), err
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		text += "s"
	}
	return time.ParseDuration(text)
}

// parsePortRange reads a number from 0 to 65535 or a range of them.
func parsePortRange(text string) (ports portRange, ok bool) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	return portRange{uint32(low), uint32(high)}, errors.Join(err1, err2) == nil && low <= high
}

func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		var address netip.Addr
		if address, err = netip.ParseAddr(text); err == nil && address.Zone() != "" {
			err = errors.New("records have no zones")
		}
		network = netip.PrefixFrom(address, address.BitLen())
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is neither an address nor a network: use one such as 10.0.0.5, fd00::1 or 10.0.0.0/8", quote(text))
	}
	if address := network.Addr(); address.Is4In6() && network.Bits() >= 96 {
		// Records have IPv4-mapped addresses as IPv4.
		network = netip.PrefixFrom(address.Unmap(), network.Bits()-96)
	}
	return network, nil
}
