// There is no public home yet: CONTRIBUTING.md says what to fill in here.
module check_network_connections

go 1.25.0

// Two processors serve at most, and a run is short: looking for the limits of a
// container, and for changes of them, takes longer than it could matter.
godebug (
	containermaxprocs=0
	updatemaxprocs=0
)

require (
	github.com/NETWAYS/go-check v1.0.0
	github.com/shirou/gopsutil/v3 v3.24.5
	github.com/spf13/pflag v1.0.10
	golang.org/x/sys v0.43.0
)

require (
	github.com/go-ole/go-ole v1.2.6 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/lufia/plan9stats v0.0.0-20211012122336-39d0f177ccd0 // indirect
	github.com/power-devops/perfstat v0.0.0-20210106213030-5aafc221ea8c // indirect
	github.com/shoenig/go-m1cpu v0.1.6 // indirect
	github.com/tklauser/go-sysconf v0.3.12 // indirect
	github.com/tklauser/numcpus v0.6.1 // indirect
	github.com/yusufpapurcu/wmi v1.2.4 // indirect
)
