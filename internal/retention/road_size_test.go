//go:build !soak

package retention

// roadMessages is how many messages go the whole road; under the build tag soak they are five thousand.
const roadMessages = 300
