package main

import (
	"os"
	"testing"
	"testing/fstest"
)

func TestUsableMemory(t *testing.T) {
	const machine = 8 << 30
	for name, c := range map[string]struct {
		files map[string]string
		want  uint64
	}{
		"no control groups": {nil, machine},
		"version 2": {map[string]string{
			"proc/self/cgroup": "0::/system.slice/zeropass-server.service\n",
			"sys/fs/cgroup/system.slice/zeropass-server.service/memory.max": "1073741824\n",
			"sys/fs/cgroup/system.slice/memory.max":                         "max\n",
		}, 1 << 30},
		"version 2, a group above allows less": {map[string]string{
			"proc/self/cgroup":               "0::/a/b/c\n",
			"sys/fs/cgroup/a/b/c/memory.max": "2147483648\n",
			"sys/fs/cgroup/a/memory.max":     "536870912\n",
		}, 512 << 20},
		"version 2, no limit": {map[string]string{
			"proc/self/cgroup":           "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "max\n",
		}, machine},
		"version 2, a container that sees its own group as the root": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "268435456\n",
		}, 256 << 20},
		"version 2, a group outside of what the container sees": {map[string]string{
			"proc/self/cgroup":         "0::/../../other\n",
			"sys/fs/cgroup/memory.max": "268435456\n",
		}, 256 << 20},
		"version 1": {map[string]string{
			"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/docker/1\n3:cpuset:/\n0::/\n",
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "134217728\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          "9223372036854771712\n",
		}, 128 << 20},
		"version 1, a container whose group is not where it is named": {map[string]string{
			"proc/self/cgroup":                           "4:memory:/docker/1\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
		}, 128 << 20},
		"more than the machine has": {map[string]string{
			"proc/self/cgroup":           "0::/a\n",
			"sys/fs/cgroup/a/memory.max": "17179869184\n",
		}, machine},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:        8388608 kB\nMemFree:         1024 kB\n")}}
			for path, text := range c.files {
				files[path] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := usableMemory(files); got != c.want {
				t.Errorf("%d bytes instead of %d", got, c.want)
			}
		})
	}
}

// The machine that tests run on says how much it has.
func TestUsableMemoryHere(t *testing.T) {
	here := os.DirFS("/")
	if usable := usableMemory(here); usable == 0 || usable > machineMemory(here) {
		t.Errorf("%d bytes of %d", usable, machineMemory(here))
	}
	if usable := usableMemory(fstest.MapFS{}); usable != 0 {
		t.Errorf("%d bytes where nothing says how many", usable)
	}
}

func TestLeastHeap(t *testing.T) {
	for _, c := range []struct{ memory, want uint64 }{
		{0, 64 << 20},
		{256 << 20, 64 << 20},
		{2 << 30, 128 << 20},
		{64 << 30, 256 << 20},
	} {
		if got := leastHeap(c.memory); got != c.want {
			t.Errorf("with %d bytes of memory %d instead of %d", c.memory, got, c.want)
		}
	}
}
