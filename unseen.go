package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/NETWAYS/go-check"
)

// What is not seen must not look as if it were not there: here are the reasons
// why an answer cannot be given though the sockets could be read.

// hidden returns an error where a number that was asked for depends on owners
// that are not known.
func (r Reading) hidden(config Config) error {
	// A recording has no users for the sockets that no process holds either.
	if r.UserLess > 0 && !config.Filter.Users.isEmpty() && (config.Recording == nil || r.UserLess == r.Selected) {
		return fmt.Errorf("--user cannot be applied: the users of %d sockets are not known from this source", r.UserLess)
	}
	isUnsure := func(user string) bool { return isTold(user) && !isSureUser(user) }
	if users := slices.Concat(config.Filter.Users.include, config.Filter.Users.exclude); r.Strangers > 0 && slices.ContainsFunc(users, isUnsure) {
		return fmt.Errorf("--user cannot be applied: the users of %d sockets are not known in this user namespace", r.Strangers)
	}
	if users := config.namedValues(byUser); config.Recording == nil && (r.UserLess > 0 && len(users) > 0 || r.Strangers > 0 && slices.ContainsFunc(users, isUnsure)) {
		return fmt.Errorf("the sockets of %s cannot be counted: the users of %d sockets are not known", quote(strings.Join(users, ", ")), r.UserLess+r.Strangers)
	}
	if r.Unseen == 0 {
		return nil
	}
	if slices.ContainsFunc(slices.Concat(config.Filter.Processes.include, config.Filter.Processes.exclude), isTold) {
		return fmt.Errorf("--process cannot be applied: %s", r.unseenText(config))
	}
	if processes := config.namedValues(byProcess); len(processes) > 0 {
		return fmt.Errorf("the sockets of %s cannot be counted: %s", quote(strings.Join(processes, ", ")), r.unseenText(config))
	}
	return nil
}

// unseenText says what this user may not see, and which rights would show it.
func (r Reading) unseenText(config Config) string {
	if config.Recording != nil {
		return fmt.Sprintf("the recording does not name the processes of %d sockets (%s)", r.Unseen, unseen)
	}
	rights := "an administrator sees them"
	switch {
	case os.Geteuid() == 0:
		rights = "not even root may see them here"
	case thisSystem == "linux":
		rights = "root sees them, and so does a binary with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
	}
	return fmt.Sprintf("%d sockets belong to processes that this user may not see (%s): %s", r.Unseen, unseen, rights)
}

// isDoubtful tells whether all is well as far as is seen, but might not be if
// the owners of all sockets were.
func isDoubtful(items []Item, config Config) bool {
	unseen := map[string]int{} // sockets by the label of their group
	for _, item := range items {
		if item.State != check.OK {
			return false
		}
		if item.Group.Label != "" && item.Group.Label == item.Group.Unseen {
			unseen[item.Group.Label] = item.Group.Count
		}
	}
	for _, item := range items {
		hidden, some := unseen[item.Group.Unseen]
		switch {
		case !some:
		case item.Group.Label == item.Group.Unseen: // they may be a group of their own, or several
			if alertsWithin(config.Warning.first(""), 1, hidden) || alertsWithin(config.Critical.first(""), 1, hidden) {
				return true
			}
		case alertsWithin(item.Warning, item.Group.Count, item.Group.Count+hidden) || alertsWithin(item.Critical, item.Group.Count, item.Group.Count+hidden):
			return true
		}
	}
	return false
}

// alertsWithin tells whether a range, which may be nil, alerts at some number
// from low to high.
func alertsWithin(threshold *check.Threshold, low, high int) bool {
	if threshold == nil {
		return false
	}
	inside := max(float64(low), math.Ceil(threshold.Lower)) // the first number that an @ range could have
	return threshold.DoesViolate(float64(low)) || threshold.DoesViolate(float64(high)) ||
		inside <= float64(high) && threshold.DoesViolate(inside)
}
