package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// blindSpot is a dimension of which this user may not see everything.
type blindSpot struct {
	*dimension
	isFilter    bool // and not only what sockets are grouped by
	isRecording bool
	sockets     int // whose value is hidden
}

type blindSpots []*blindSpot

// blindSpots returns the dimensions that matter and may have hidden values. Of a
// live system that can be owners and namespaces only.
func (q *question) blindSpots(by grouping, isRecording bool) (all blindSpots) {
	for _, d := range dimensions {
		isFilter := q.hasFilter(d)
		isOwner := d == byProcess || d == byUser || d == byUnit || d == byNetns
		isKind := d == byType || d == byStatus // which every socket has
		if (isOwner || isRecording && !isKind) && (isFilter || by.has(d)) {
			all = append(all, &blindSpot{dimension: d, isFilter: isFilter, isRecording: isRecording})
		}
	}
	return all
}

// text says what is not seen, and how it can be.
func (b blindSpot) text() string {
	sockets := socketsText(b.sockets)
	switch {
	case b.dimension == byNetns && !b.isRecording:
		return fmt.Sprintf("the name of the network namespace of %s is hidden from this user (%s): root sees it", sockets, hidden)
	case b.dimension == byUnit && b.isRecording:
		return fmt.Sprintf("the recording does not name the units of %s (%s)", sockets, hidden)
	case b.dimension == byUnit:
		return fmt.Sprintf("the units of %s are outside of this container (%s)", sockets, hidden)
	case b.dimension != byProcess && b.dimension != byUser:
		return fmt.Sprintf("the recording does not carry the ports and addresses of %s", sockets)
	case b.dimension == byUser && b.isRecording:
		return fmt.Sprintf("the users of %s are not known from this source", sockets)
	case b.dimension == byUser && thisSystem == "linux":
		return fmt.Sprintf("the users of %s are not known in this user namespace", sockets)
	case b.dimension == byUser && thisSystem == "windows":
		return fmt.Sprintf("the users of %s are hidden from this user (%s): an administrator sees them", sockets, hidden)
	case b.dimension == byUser:
		return fmt.Sprintf("the users of %s are not known", sockets)
	case b.isRecording:
		return fmt.Sprintf("the recording does not name the processes of %s (%s)", sockets, hidden)
	case thisSystem == "windows":
		return fmt.Sprintf("Windows does not tell the processes of %s (%s)", sockets, hidden)
	}
	remedy := "an administrator sees them"
	switch {
	case os.Geteuid() == 0:
		remedy = "not even root may see them here, unless they were closed meanwhile"
	case thisSystem == "linux":
		remedy = "root sees them, and so does every user after " + seeAll()
	}
	return fmt.Sprintf("the processes of %s are hidden from this user (%s): %s", sockets, hidden, remedy)
}

// seeAll returns the command by which any user of this program sees all processes.
func seeAll() string {
	path, err := os.Executable()
	if err != nil {
		path = programName
	}
	return "setcap cap_sys_ptrace,cap_dac_read_search+ep " + printable(path)
}

// check returns an error where there is no answer without what is not seen: the
// verdict depends on it, or a filter finds nothing for certain and there is
// nothing to judge.
func (all blindSpots) check(r *results, isJudged, isAlwaysOK bool) error {
	isUncertain := !r.verdict().isCertain() && !isAlwaysOK
	for _, spot := range all {
		switch {
		case spot.sockets == 0:
		case isUncertain:
			return errors.New("hidden sockets could change the result: " + spot.text())
		case spot.isFilter && !isJudged && r.sockets == 0 && r.hidden > 0:
			return fmt.Errorf("--%s finds nothing for certain: %s", spot.name, spot.text())
		}
	}
	if isUncertain {
		return errors.New("hidden sockets could change the result")
	}
	return nil
}

// hiddenGroups are the groups with hidden values: their sockets may belong to
// any group with the same values elsewhere.
type hiddenGroups struct {
	grouping
	sockets map[string]int  // by key
	masks   map[string]bool // of what is hidden in them
	others  map[string]bool // the keys to which another group is alike
}

func (g grouping) hiddenGroups(groups []group) hiddenGroups {
	h := hiddenGroups{g, map[string]int{}, map[string]bool{}, map[string]bool{}}
	for _, one := range groups {
		if mask := g.mask(one.key); mask != "" {
			h.sockets[one.key] += one.known + one.hidden
			h.masks[mask] = true
		}
	}
	for _, one := range groups {
		for mask := range h.masks {
			if behind := g.masked(one.key, mask); behind != one.key {
				h.others[behind] = true
			}
		}
	}
	return h
}

// behind returns how many hidden sockets may belong to the group with the key.
func (h hiddenGroups) behind(key string) (sockets int) {
	for mask := range h.masks {
		if behind := h.masked(key, mask); behind != key {
			sockets += h.sockets[behind]
		}
	}
	return sockets
}

// mask returns which values of the key are hidden, "" for none.
func (g grouping) mask(key string) string {
	if !strings.Contains(key, hidden) {
		return ""
	}
	mask := ""
	for i, value := range g.values(key) {
		if value == hidden {
			mask += string(rune(i))
		}
	}
	return mask
}

// masked returns the key with hidden values, or as it is where there is nothing to
// hide.
func (g grouping) masked(key, mask string) string {
	values := g.values(key)
	for _, i := range mask {
		if values[i] == nothing {
			return key
		}
		values[i] = hidden
	}
	return strings.Join(values, keySeparator)
}
