package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	stdnet "net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/NETWAYS/go-check"
	"github.com/shirou/gopsutil/v3/net"
)

// values that a range is tried on, besides its ends.
var values = []float64{-1, -0.5, 0, 0.5, 1, 5, 9, 10, 11, 20, 21, 65535, 1e6, 1e12}

// around returns the values and those at the ends of the range and next to them.
func around(r guidelineRange) []float64 {
	all := slices.Clone(values)
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
		want, wantErr := parseGuidelineRange(text)
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

// rangeNames has what the README says that a name in a threshold can be, in the
// spellings of all systems: the names of types and statuses.
var rangeTypes = []string{"tcp", "tcp6", "udp", "udp6"}

var rangeStatuses = map[string]string{
	"bound": "BOUND", "close": "CLOSE", "closed": "CLOSE", "close_wait": "CLOSE_WAIT", "closing": "CLOSING",
	"delete": "DELETE_TCB", "delete_tcb": "DELETE_TCB", "established": "ESTABLISHED",
	"fin_wait1": "FIN_WAIT1", "fin_wait_1": "FIN_WAIT1", "fin_wait2": "FIN_WAIT2", "fin_wait_2": "FIN_WAIT2",
	"idle": "IDLE", "last_ack": "LAST_ACK", "listen": "LISTEN", "none": "NONE",
	"syn_recv": "SYN_RECV", "syn_received": "SYN_RECV", "syn_rcvd": "SYN_RECV", "syn_sent": "SYN_SENT", "time_wait": "TIME_WAIT",
}

// rangeName is what a name in a threshold is for: a type, a status, both, or
// something else.
type rangeName struct{ socketType, status, other string }

// parseRangeName returns false for a name of nothing that can exist.
func parseRangeName(text string) (rangeName, bool) {
	text = strings.ReplaceAll(strings.ToLower(text), "-", "_")
	if text == "total" || text == "ephemeral" {
		return rangeName{other: text}, true
	}
	for _, socketType := range append(slices.Clone(rangeTypes), "") {
		rest, found := strings.CutPrefix(text, socketType)
		switch {
		case !found:
			continue
		case rest == "" && socketType != "":
			return rangeName{socketType: socketType}, true
		case socketType != "":
			if rest, found = strings.CutPrefix(rest, "_"); !found {
				continue
			}
		}
		if status := rangeStatuses[rest]; status != "" {
			return rangeName{socketType: socketType, status: status}, socketType == "" || strings.HasPrefix(socketType, "udp") == (status == "NONE")
		}
	}
	return rangeName{}, false
}

// parseRangeList reads a list of [GROUP=]RANGE, and returns false where there is
// anything wrong with it.
func parseRangeList(text string) (map[rangeName]guidelineRange, bool) {
	ranges := map[rangeName]guidelineRange{}
	for item := range strings.SplitSeq(text, ",") {
		var name rangeName
		level := item
		if i := strings.LastIndexByte(item, '='); i >= 0 {
			var known bool
			if name, known = parseRangeName(strings.TrimSpace(item[:i])); !known {
				return nil, false
			}
			level = item[i+1:]
		}
		r, err := parseGuidelineRange(strings.TrimSpace(level))
		if _, twice := ranges[name]; err != nil || twice {
			return nil, false
		}
		ranges[name] = r
	}
	return ranges, true
}

func FuzzThresholds(f *testing.F) {
	for _, list := range []string{
		"10", "1,tcp=2,listen=3,tcp_listen=4", "1,tcp=2,listen=3,tcp6_listen=4", "tcp6=2,closing=3,total=9", "1,udp=2,none=3", "udp_none=@3:",
		"TCP-Close-Wait=5", "tcp_fin_wait_1=1, tcp6_syn-rcvd = 5:10", "ephemeral=80,total=~:5", "ephemeral=101", "ephemeral=@100.5:", "ephemeral=@90:200", "close=1,closed=2", "1,2", "udp=5,UDP=6", "udp_listen=5",
		"=5", "udp=", "a=b=5", "sctp=5", "tcp=5=6", "", ",", "total=", "tcp6_=1", "tcp_tcp=1",
	} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		config, err := parseArguments([]string{"--warning=" + list})
		want, ok := parseRangeList(list)
		if percent, found := want[rangeName{other: "ephemeral"}]; found && (thisSystem != "linux" || percent.low > 100 || percent.high > 100 && !percent.inside && !math.IsInf(percent.high, 1)) {
			ok = false
		}
		if (err == nil) != ok {
			t.Fatalf("got %v, the rules say %t", err, ok)
		}
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
			return
		}
		for _, socketType := range rangeTypes {
			for _, status := range append(slices.Clone(statuses), "SOMETHING_NEW") {
				if isUDP(socketType) != (status == statusNone) {
					continue
				}
				var applies *guidelineRange
				for _, name := range []rangeName{{socketType, status, ""}, {"", status, ""}, {socketType, "", ""}, {}} {
					if r, found := want[name]; found {
						applies = &r
						break
					}
				}
				mustJudge(t, config, socketType, status, applies)
			}
		}
	})
}

// mustJudge fails the test unless that range, or none, is what decides on the
// group.
func mustJudge(t *testing.T, config Config, socketType, status string, applies *guidelineRange) {
	t.Helper()
	group := config.By.group(keyOf(socketType, status), part{})
	for _, count := range []int{0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 80, 1e6} {
		group.Count = count
		got := judge([]Group{group}, nil, config)[0].State
		want := check.OK
		if applies != nil && applies.alerts(float64(count)) {
			want = check.Warning
		}
		if got != want {
			t.Errorf("%s %s, %d: got %s, want %s", socketType, status, count, got, want)
		}
	}
}

// FuzzNames tries any name on everything that can have one.
func FuzzNames(f *testing.F) {
	for _, text := range hostileTexts {
		if len(text) < 1<<10 {
			f.Add(text, "tcp LISTEN")
		}
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		for _, dimension := range append(hostileDimensions, strings.Join(hostileDimensions, ",")) {
			_, output, groups := reportOf(t, hostileParts([]string{text, other, text}), "--by", dimension, "--top=0", "-w", "1", "-c", "total=5", "-v")
			sockets := 0
			for _, group := range groups {
				sockets += group.Count
			}
			mustBeTheGroups(t, output, append(groups, Group{Label: "total", Count: sockets}))
			if sockets != 3 || len(groups) > 2 {
				t.Errorf("by %s: %v", dimension, groups)
			}
		}
	})
}

func FuzzRecording(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil || len(paths) == 0 {
		f.Fatal(err, paths)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(content) < 8<<10 {
			f.Add(content)
		}
	}
	for _, text := range []string{
		``, `[`, `[]`, `[] `, `[,]`, `[1]`, `[null]`, `[{}]`, `[{"proto": "udp"}]`, `[{"proto":"tcp","status":"LISTEN"},]`, `[{"proto":"tcp"} {"proto":"tcp"}]`, `[] []`,
		`[{"family":2,"type":1,"localaddr":{"ip":"::1","port":4294967295},"pid":-1,"uids":[-1,4294967295]}]`,
		`[{"PROTO":"tcp","Status":"a|b=1\n<b>"},{"proto":"tcp6","proto":"udp6","status":"\ud800"}]`,
	} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "recording.json")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		want, ok := socketsIn(content)
		for _, arguments := range []string{"", "--by=status,process,user,remote-address,remote-port,local-address,local-port"} {
			code, output := answer(append(strings.Fields(arguments), "--top=0", "-w=1", "-c=total=5", "--test="+path)...)
			metrics, err := harmless(output)
			if err != nil || (code != 3) != ok {
				t.Fatalf("%d %v, whole: %t", code, err, ok)
			}
			if code == 3 {
				continue
			}
			if total := metrics[len(metrics)-1]; total.label != "total" || int(total.value) != want {
				t.Errorf("%d sockets, but %s", want, output)
			}
		}
	})
}

// socketsIn returns how many sockets a recording has, and whether it is one.
// Other than the program it reads the whole at once, and a field at a time.
func socketsIn(content []byte) (sockets int, ok bool) {
	var rows []json.RawMessage
	if err := json.Unmarshal(content, &rows); err != nil || rows == nil {
		return 0, false
	}
	for _, row := range rows {
		type address struct {
			IP   string
			Port uint32
		}
		var fields struct {
			Proto                 *string
			Fd, Family, Type      uint32
			LocalAddr, RemoteAddr *address
			Status                string
			Uids                  []int32
			Pid                   int32
		}
		if !bytes.HasPrefix(bytes.TrimSpace(row), []byte("{")) || json.Unmarshal(row, &fields) != nil {
			return 0, false
		}
		switch {
		case fields.Proto != nil && !slices.Contains(rangeTypes, *fields.Proto):
			return 0, false
		case fields.Proto == nil && (fields.Family == 0 || fields.Type == 0):
			return 0, false
		case fields.Proto != nil || slices.Contains([]uint32{2, 10, 23, 24, 28, 30}, fields.Family) && (fields.Type == 1 || fields.Type == 2):
			sockets++
		}
	}
	return sockets, true
}

var portItem = regexp.MustCompile(`^(!?)([0-9]+)(?:-([0-9]+))?$`)

func FuzzPorts(f *testing.F) {
	for _, list := range []string{"80", "80,443", "8000-8100", "!22", "1-65535,!1024-65535", "0", "65536", "90-80", "http", "!", "", "80,", "-80", "80-", "+80", "00080", "8 0", "80 , !443", "99999999999999999999"} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := parseChoice([]string{list}, parsePorts)
		var include, exclude [1 << 16]bool
		includesAny, ok := false, true
		for item := range strings.SplitSeq(list, ",") {
			parts := portItem.FindStringSubmatch(strings.TrimSpace(item))
			if parts == nil {
				ok = false
				break
			}
			if parts[3] == "" {
				parts[3] = parts[2]
			}
			first, err1 := strconv.Atoi(parts[2])
			last, err2 := strconv.Atoi(parts[3])
			if err1 != nil || err2 != nil || first < 1 || last > 65535 || first > last {
				ok = false
				break
			}
			for port := first; port <= last; port++ {
				if parts[1] == "!" {
					exclude[port] = true
				} else {
					include[port], includesAny = true, true
				}
			}
		}
		if (err == nil) != ok {
			t.Fatalf("got %v, the rules say %t", err, ok)
		}
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
			return
		}
		for _, port := range []int{1, 2, 22, 80, 443, 1023, 1024, 8000, 8050, 8100, 8101, 32768, 65534, 65535} {
			want := (!includesAny || include[port]) && !exclude[port]
			if matchesPort(got, net.Addr{Port: uint32(port)}) != want {
				t.Errorf("%d: want %t", port, want)
			}
		}
	})
}

func FuzzAddresses(f *testing.F) {
	for _, list := range []string{
		"10.0.0.5", "10.0.0.0/8", "!127.0.0.0/8,::1", "fd00::/8", "::ffff:10.0.0.5", "::ffff:10.0.0.0/104", "::/0", "0.0.0.0/0,!10.0.0.5", "::ffff:0:0/95", "fe80::1%eth0",
		"10.0.0.256", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "010.0.0.1", "1.2.3", "", "!", ",", "localhost", "2001:db8::1/64",
	} {
		f.Add(list, "10.0.0.5")
	}
	f.Add("fd00::/8", "fd00::1%eth0")
	f.Add("::ffff:10.0.0.0/104", "::ffff:10.0.0.5")
	f.Fuzz(func(t *testing.T, list, address string) {
		got, err := parseChoice([]string{list}, parseNetwork)
		if err != nil {
			if _, err := harmless(errorText(err)); err != nil {
				t.Error(err)
			}
		}
		var include, exclude []*stdnet.IPNet
		ok := true
		for item := range strings.SplitSeq(list, ",") {
			text, excluded := strings.CutPrefix(strings.TrimSpace(item), "!")
			network := parseIPNet(text)
			switch {
			case network == nil:
				ok = false
			case excluded:
				exclude = append(exclude, network)
			default:
				include = append(include, network)
			}
		}
		if (err == nil) != ok {
			t.Fatalf("got %v, the net package says %t", err, ok)
		}
		if err != nil {
			return
		}
		for _, text := range []string{address, "10.0.0.5", "10.255.255.255", "127.0.0.1", "0.0.0.0", "::ffff:10.0.0.5", "::1", "::", "fd00::1", "2001:db8::5", "fe80::1"} {
			ip := stdnet.ParseIP(text)
			if ip == nil {
				continue // zones, and what no system has as an address
			}
			has := func(networks []*stdnet.IPNet) bool {
				return slices.ContainsFunc(networks, func(n *stdnet.IPNet) bool { return n.Contains(ip) })
			}
			want := (len(include) == 0 || has(include)) && !has(exclude)
			if matchesAddress(got, net.Addr{IP: text}) != want {
				t.Errorf("%s: want %t", text, want)
			}
		}
	})
}

// parseIPNet reads an address or a network, nil where it is neither. A length
// has no zeros in front, which the net package takes.
func parseIPNet(text string) *stdnet.IPNet {
	if ip := stdnet.ParseIP(text); ip != nil {
		return &stdnet.IPNet{IP: ip, Mask: stdnet.CIDRMask(128, 128)}
	}
	_, network, err := stdnet.ParseCIDR(text)
	if _, length, _ := strings.Cut(text, "/"); err != nil || len(length) > 1 && length[0] == '0' {
		return nil
	}
	return network
}

var (
	durationText = regexp.MustCompile(`^\+?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+$`)
	durationPart = regexp.MustCompile(`([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)`)
	durationUnit = map[string]int64{"ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9}
)

func FuzzDurations(f *testing.F) {
	for _, text := range []string{"90s", "5m", "1h30m", "1.5s", ".5s", "1ns", "+1s", "1µs", "1μs", "1193h2m47.295s", "1193h2m47.296s", "2562047h", "90", "-5m", "", "0", "0s", "0.1ns", "2562048h", "9223372036854775808ns", "1d", "1 s", "s", "1e3s", "99999999999999999999h"} {
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
		want := new(big.Rat)
		if durationText.MatchString(text) {
			for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
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
		switch got := new(big.Rat).SetInt64(int64(config.MinIdle)); {
		case err == nil:
			difference, _ := new(big.Rat).Sub(want, got).Float64()
			if config.MinIdle <= 0 || got.Cmp(high) > 0 || difference < -1 || difference > float64(strings.Count(text, ".")+1) {
				t.Errorf("got %s, want %s ns", config.MinIdle, want.FloatString(3))
			}
		case want.Cmp(low) >= 0 && want.Cmp(high) <= 0 && !strings.Contains(text, "."):
			t.Errorf("got %v, want %s ns", err, want.FloatString(0))
		}
	})
}

func TestFuzzTargetsReadTheirOwnLists(t *testing.T) {
	ranges, ok := parseRangeList("1,tcp=2, close-wait = 3:4 ,tcp6_fin_wait_1=@5,total=6")
	want := map[rangeName]guidelineRange{
		{}:                        {false, 0, 1},
		{socketType: "tcp"}:       {false, 0, 2},
		{status: "CLOSE_WAIT"}:    {false, 3, 4},
		{"tcp6", "FIN_WAIT1", ""}: {true, 0, 5},
		{other: "total"}:          {false, 0, 6},
	}
	if !ok || fmt.Sprint(ranges) != fmt.Sprint(want) {
		t.Errorf("got %v", ranges)
	}
}
