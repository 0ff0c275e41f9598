//go:build linux

// Command gopsutil counts sockets by type and status the obvious way, with
// gopsutil's Connections, for the comparison that bench makes.
package main

import (
	"fmt"
	"log"

	"github.com/shirou/gopsutil/v3/net"
)

func main() {
	connections, err := net.Connections("inet")
	if err != nil {
		log.Fatal(err)
	}
	type group struct {
		family, kind uint32
		status       string
	}
	counts := make(map[group]int)
	for _, connection := range connections {
		counts[group{connection.Family, connection.Type, connection.Status}]++
	}
	fmt.Println(counts)
}
