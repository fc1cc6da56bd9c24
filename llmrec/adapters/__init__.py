"""Who gets which LoRA: gated experts, materialised adapters and the store that keeps them."""
