package main

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// usableMemory returns how many bytes of memory this process may use: those of the
// machine, or the least that its control group or one above allows, cgroups(7). A group
// that cannot be seen from where the process stands, inside of a container, is passed
// over. It returns 0 where the system does not say; files are the system's.
func usableMemory(files fs.FS) uint64 {
	usable := machineMemory(files)
	groups, err := fs.ReadFile(files, "proc/self/cgroup")
	if err != nil {
		return usable
	}
	for line := range strings.Lines(string(groups)) {
		// Hierarchy, controllers and path. Version 2 names no controllers.
		_, line, _ = strings.Cut(strings.TrimSpace(line), ":")
		controllers, name, _ := strings.Cut(line, ":")
		mount, file := "sys/fs/cgroup", "memory.max"
		if controllers != "" {
			if !slices.Contains(strings.Split(controllers, ","), "memory") {
				continue
			}
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for at := path.Clean("/" + name); ; at = path.Dir(at) {
			// Without a limit it says "max", and version 1 a number beyond all memory.
			text, _ := fs.ReadFile(files, path.Join(mount, at, file))
			if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
				usable = min(usable, limit)
			}
			if at == "/" {
				break
			}
		}
	}
	return usable
}

// machineMemory is the total in proc_meminfo(5), which comes first.
func machineMemory(files fs.FS) uint64 {
	text, _ := fs.ReadFile(files, "proc/meminfo")
	var kilobytes uint64
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes); err != nil {
		return 0
	}
	return kilobytes << 10
}
